//! Redirects of the API that tower-http follows: outside the layer, and inside it.

use std::fmt;
use std::fmt::Write;

use axum::body::Body as AxumBody;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use neonomics_auth::testing::RecordedRequest;
use neonomics_auth::{AuthOutcome, BoxError, Environment, NeonomicsAuthLayer, PassReason, TokenProvider};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_http::follow_redirect::policy::{Limited, PolicyExt, clone_body_fn};

use crate::names::{MOVED, Names, Place};
use crate::unless_it_hangs;

const STATUSES: [StatusCode; 5] = [
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::FOUND,
    StatusCode::SEE_OTHER,
    StatusCode::TEMPORARY_REDIRECT,
    StatusCode::PERMANENT_REDIRECT,
];

const NAMES: [&str; 6] = ["api.test", "api.test.example", "not-api.test", "api-test", "127.0.0.1", "127.0.0.1.example"];

/// Who gets the token, for all statuses alike.
struct Row {
    to: &'static str,
    /// `P` is the port of the API, `Q` that of somebody else.
    api: &'static str,
    location: &'static str,
    outside: Cell,
    inside: Cell,
    /// Inside, with a policy that keeps every header: nobody takes the token off, and the layer is not asked.
    naive: Cell,
}

/// What happened: requests that were redirected and requests to where they were sent, those of them with the token,
/// forced renewals, and what came back.
#[derive(Clone, Copy, PartialEq)]
struct Cell(usize, usize, usize, u64, u16, &'static str);

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(moved, there, tokens, renewals, status, outcome) = self;
        write!(f, "{moved}+{there}, token {tokens}, renewed {renewals}, {status} {outcome}")
    }
}

/// The API's own: followed with the token.
const HOME: Cell = Cell(1, 1, 1, 0, 200, "");
/// Followed, and the layer passed it on without the token.
const PASSED: Cell = Cell(1, 1, 0, 0, 401, "passed");
/// Followed without the token. The 401 of somebody else looks like a refusal: one renewal, and all of it once more.
const BARE: Cell = Cell(2, 2, 0, 1, 401, "replayed");
/// As that, with the token: somebody else has it.
const STOLEN: Cell = Cell(2, 2, 2, 1, 401, "replayed");
/// With the token, to the same server by another name or without TLS, which takes it.
const TAKEN: Cell = HOME;
/// Not a URL, so not followed.
const STAYED: Cell = Cell(1, 0, 0, 0, 0, "");

const ROWS: [Row; 14] = [
    row("the same origin", "http://127.0.0.1:P", "/echo/there", [HOME, HOME, HOME]),
    row("the same in full", "https://api.test:P", "HTTPS://API.test:P/echo/there", [HOME, HOME, HOME]),
    row("another host", "http://127.0.0.1:P", "http://localhost:P/echo/there", [PASSED, BARE, TAKEN]),
    row("another port", "http://127.0.0.1:P", "http://127.0.0.1:Q/echo/there", [PASSED, BARE, STOLEN]),
    row("another port, no scheme", "https://api.test:P", "//api.test:Q/echo/there", [PASSED, BARE, STOLEN]),
    row("http", "https://api.test:P", "http://api.test:P/echo/there", [PASSED, BARE, TAKEN]),
    row("http on loopback", "https://127.0.0.1:P", "http://127.0.0.1:P/echo/there", [PASSED, BARE, TAKEN]),
    row("begins alike", "https://api.test:P", "https://api.test.example:Q/echo/there", [PASSED, BARE, STOLEN]),
    row("begins alike", "http://127.0.0.1:P", "http://127.0.0.1.example:P/echo/there", [PASSED, BARE, TAKEN]),
    row("ends alike", "https://api.test:P", "https://not-api.test:P/echo/there", [PASSED, BARE, TAKEN]),
    row("ends alike, is no host", "http://127.0.0.1:P", "http://not-127.0.0.1:P/echo/there", [STAYED, STAYED, STAYED]),
    row("looks alike", "https://api.test:P", "https://api-test:Q/echo/there", [PASSED, BARE, STOLEN]),
    // The API itself, but user-info never matches; to tower-http it is the same origin.
    row("user-info", "http://127.0.0.1:P", "http://user:pass@127.0.0.1:P/echo/there", [PASSED, HOME, HOME]),
    row("user-info alike", "http://127.0.0.1:P", "http://127.0.0.1:P@localhost:Q/echo/there", [PASSED, BARE, STOLEN]),
];

const fn row(to: &'static str, api: &'static str, location: &'static str, cells: [Cell; 3]) -> Row {
    let [outside, inside, naive] = cells;
    Row { to, api, location, outside, inside, naive }
}

// lesson 18
#[tokio::test]
async fn b2_the_token_goes_with_a_redirect_to_the_same_origin_and_nowhere_else() {
    let names = Names::new(&NAMES);
    let mut table = String::new();
    let mut wrong = Vec::new();
    for row in &ROWS {
        for status in STATUSES {
            let (outside, inside, naive) = (
                outside(&names, row, status).await,
                inside(&names, row, status).await,
                naive(&names, row, status).await,
            );
            let cells =
                [("outside", row.outside, outside), ("inside", row.inside, inside), ("naive", row.naive, naive)];
            let told = cells.map(|(_, _, measured)| measured.to_string());
            let [outside, inside, naive] = &told;
            let (code, to) = (status.as_u16(), row.to);
            writeln!(table, "{code}  {to:24}  {outside:38}  {inside:40}  {naive}").unwrap();
            for (place, expected, measured) in cells {
                let expected = if expected == STAYED { Cell(1, 0, 0, 0, code, "") } else { expected };
                if measured != expected {
                    wrong.push(format!("{code} to {} ({to}), {place}: {measured}, not {expected}", row.location));
                }
            }
        }
    }
    println!("{:29}  {:38}  {:40}  naive inside\n{table}", "", "outside", "inside");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A place that redirects, another one, and a provider for the first.
struct Scene {
    api: Place,
    other: Place,
    origin: String,
    provider: TokenProvider,
    client: Client<Names, Full<Bytes>>,
    names: Names,
}

impl Scene {
    async fn of(names: &Names, api_origin: &str, location: &str, status: StatusCode) -> Self {
        let (api, other) = (Place::listen(names).await, Place::listen(names).await);
        let with_ports = |url: &str| {
            let url = url.replace(":P", &format!(":{}", api.port));
            url.replace(":Q", &format!(":{}", other.port))
        };
        let origin = with_ports(api_origin);
        api.redirect(status, &with_ports(location));
        let realm = format!("{}/auth/realms/sandbox", api.fake.origin());
        let environment = Environment::realm(realm, &origin).unwrap();
        let builder = TokenProvider::builder(environment, api.fake.credentials());
        let provider = builder.transport(api.fake.clone()).build().unwrap();
        provider.token().await.unwrap();
        let client = Client::builder(TokioExecutor::new()).build(names.clone());
        Self { api, other, origin, provider, client, names: names.clone() }
    }

    fn layer(&self) -> NeonomicsAuthLayer {
        NeonomicsAuthLayer::new(self.provider.clone())
    }

    fn request<B>(&self, method: Method, body: B) -> Request<B> {
        Request::builder().method(method).uri(format!("{}{MOVED}", self.origin)).body(body).unwrap()
    }

    async fn get<S, B>(&self, client: S) -> Response<B>
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: fmt::Debug>,
    {
        let response = unless_it_hangs(client.oneshot(self.request(Method::GET, Full::default()))).await.unwrap();
        // Whatever happens then: the API itself gets its token, each time.
        assert!(self.api.asked().iter().all(Option::is_some));
        response
    }

    /// What reached the target of the redirect.
    fn there(&self) -> Vec<RecordedRequest> {
        let requests = self.api.fake.requests().into_iter().chain(self.other.fake.requests());
        requests.filter(|request| request.uri.path() == "/echo/there").collect()
    }

    fn measured<B>(&self, response: &Response<B>) -> Cell {
        let there = self.there();
        let tokens = there.iter().filter(|request| request.headers.contains_key(AUTHORIZATION)).count();
        let forced = self.provider.status().renewals.forced;
        let outcome = response.extensions().get::<AuthOutcome>();
        let outcome = match outcome {
            None => "",
            Some(outcome) if outcome.replayed() => "replayed",
            Some(outcome) if outcome.passed_without_token() == Some(PassReason::OtherOrigin) => "passed",
            Some(_) => "other",
        };
        let renewals = forced.succeeded + forced.failed;
        Cell(self.api.asked().len(), there.len(), tokens, renewals, response.status().as_u16(), outcome)
    }
}

/// The policy keeps every header: nothing but the layer decides who gets the token.
async fn outside(names: &Names, row: &Row, status: StatusCode) -> Cell {
    let scene = Scene::of(names, row.api, row.location, status).await;
    let following = FollowRedirectLayer::with_policy(Limited::default());
    let client = ServiceBuilder::new().layer(following).layer(scene.layer()).service(scene.client.clone());
    let response = scene.get(client).await;
    scene.measured(&response)
}

async fn inside(names: &Names, row: &Row, status: StatusCode) -> Cell {
    let scene = Scene::of(names, row.api, row.location, status).await;
    let following = FollowRedirectLayer::new();
    let client = ServiceBuilder::new().layer(scene.layer()).layer(following).service(scene.client.clone());
    let response = scene.get(client).await;
    scene.measured(&response)
}

async fn naive(names: &Names, row: &Row, status: StatusCode) -> Cell {
    let scene = Scene::of(names, row.api, row.location, status).await;
    let following = FollowRedirectLayer::with_policy(Limited::default());
    let client = ServiceBuilder::new().layer(scene.layer()).layer(following).service(scene.client.clone());
    let response = scene.get(client).await;
    scene.measured(&response)
}

/// Method, bytes and content type of what reached the target, or `-` where the redirect came back.
struct Followed {
    method: Method,
    body: &'static str,
    /// In the order of [`STATUSES`].
    by_default: [&'static str; 5],
    with_a_clone: [&'static str; 5],
}

// A body that is sent to another place must be had once more: by default tower-http has empty ones only.
#[rustfmt::skip]
fn followed() -> [Followed; 4] {
    [
        Followed { method: Method::GET, body: "", by_default: ["GET 0"; 5], with_a_clone: ["GET 0"; 5] },
        Followed {
            method: Method::POST, body: "a body",
            by_default:   ["GET 0", "GET 0", "GET 0", "-", "-"],
            with_a_clone: ["GET 0", "GET 0", "GET 0", "POST 6 text", "POST 6 text"],
        },
        Followed {
            method: Method::PUT, body: "a body",
            by_default:   ["-", "-", "GET 0", "-", "-"],
            with_a_clone: ["PUT 6 text", "PUT 6 text", "GET 0", "PUT 6 text", "PUT 6 text"],
        },
        Followed {
            method: Method::DELETE, body: "",
            by_default:   ["DELETE 0", "DELETE 0", "GET 0", "DELETE 0", "DELETE 0"],
            with_a_clone: ["DELETE 0", "DELETE 0", "GET 0", "DELETE 0", "DELETE 0"],
        },
    ]
}

/// Inside `buffer_body` it has to be wrapped, as `FollowRedirect` wants a body with a default; a recorded body is followed
/// no further than others are.
// lesson 18
#[tokio::test]
async fn c12_what_becomes_of_method_and_body_is_up_to_the_policy_of_the_redirect() {
    let names = Names::new(&NAMES);
    let (mut table, mut wrong) = (String::new(), Vec::new());
    for Followed { method, body, by_default, with_a_clone } in followed() {
        for (number, status) in STATUSES.into_iter().enumerate() {
            let mut measured = Vec::new();
            for column in 0..4 {
                let scene = Scene::of(&names, "http://127.0.0.1:P", "/echo/there", status).await;
                let mut request = scene.request(method.clone(), Full::from(body));
                if !body.is_empty() {
                    request.headers_mut().insert(CONTENT_TYPE, "text".parse().unwrap());
                }
                let answer = unless_it_hangs(scene.send(column, request)).await.unwrap();
                measured.push(scene.followed(answer, status));
            }
            writeln!(table, "{} {method:6} {measured:?}", status.as_u16()).unwrap();
            let expected = [by_default[number], by_default[number], by_default[number], with_a_clone[number]];
            if measured != expected {
                wrong.push(format!("{} {method}: {measured:?}, not {expected:?}", status.as_u16()));
            }
        }
    }
    println!("[outside, inside, inside and recorded, outside with a clone of the body]\n{table}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

impl Scene {
    async fn send(&self, column: usize, request: Request<Full<Bytes>>) -> Result<StatusCode, BoxError> {
        let (stack, client) = (ServiceBuilder::new(), self.client.clone());
        let following = FollowRedirectLayer::new();
        Ok(match column {
            0 => stack.layer(following).layer(self.layer()).service(client).oneshot(request).await?.status(),
            1 => stack.layer(self.layer()).layer(following).service(client).oneshot(request).await?.status(),
            2 => {
                let layer = self.layer().buffer_body_with(100, AxumBody::new);
                let client = Client::builder(TokioExecutor::new()).build(self.names.clone());
                stack.layer(layer).layer(following).service(client).oneshot(request).await?.status()
            }
            _ => {
                let policy = Limited::default()
                    .and::<_, Full<Bytes>, BoxError>(clone_body_fn(|body: &Full<Bytes>| Some(body.clone())));
                let following = FollowRedirectLayer::with_policy(policy);
                stack.layer(following).layer(self.layer()).service(client).oneshot(request).await?.status()
            }
        })
    }

    fn followed(&self, answer: StatusCode, redirect: StatusCode) -> String {
        let there = self.there();
        assert_eq!(self.api.asked().len(), 1);
        let Some(request) = there.first() else {
            assert_eq!(answer, redirect);
            return "-".to_owned();
        };
        assert_eq!((answer, there.len()), (StatusCode::OK, 1));
        let kind = request.headers.get(CONTENT_TYPE).map_or("", |kind| kind.to_str().unwrap());
        format!("{} {} {kind}", request.method, request.body.len()).trim_end().to_owned()
    }
}

#[tokio::test]
async fn c1_a_401_at_the_target_of_a_redirect_is_healed_there() {
    for status in STATUSES {
        let scene = Scene::of(&Names::new(&NAMES), "https://api.test:P", "/echo/there", status).await;
        scene.api.fake.refuse_requests(1);
        let first = scene.provider.cached().unwrap();
        let following = FollowRedirectLayer::new();
        let client = ServiceBuilder::new().layer(following).layer(scene.layer()).service(scene.client.clone());
        let response = scene.get(client).await;
        // The target twice, what leads there once.
        assert!(scene.measured(&response) == Cell(1, 2, 2, 1, 200, "replayed"), "{}", scene.measured(&response));
        let second = scene.provider.cached().unwrap();
        let tokens: Vec<_> = scene.there().iter().map(|request| request.headers[AUTHORIZATION].clone()).collect();
        assert_eq!(tokens, [first.authorization(), second.authorization()]);
        assert_eq!(scene.api.asked(), [Some(first.authorization().clone())]);
    }
}

/// The layer sees one answer, that of the target: what leads there is sent once more too.
#[tokio::test]
async fn c1_a_401_at_the_target_of_a_redirect_that_is_followed_inside_repeats_the_redirect() {
    for status in STATUSES {
        let scene = Scene::of(&Names::new(&NAMES), "https://api.test:P", "/echo/there", status).await;
        scene.api.fake.refuse_requests(1);
        let following = FollowRedirectLayer::new();
        let client = ServiceBuilder::new().layer(scene.layer()).layer(following).service(scene.client.clone());
        let response = scene.get(client).await;
        assert!(scene.measured(&response) == Cell(2, 2, 2, 1, 200, "replayed"), "{}", scene.measured(&response));
    }
}

#[tokio::test]
async fn c1_a_replay_that_is_redirected_is_followed_with_the_new_token() {
    for status in STATUSES {
        let scene = Scene::of(&Names::new(&NAMES), "https://api.test:P", "/echo/there", status).await;
        scene.api.refuse_first(1);
        let first = scene.provider.cached().unwrap();
        let following = FollowRedirectLayer::new();
        let client = ServiceBuilder::new().layer(following).layer(scene.layer()).service(scene.client.clone());
        let response = scene.get(client).await;
        // The outcome is that of the last request, of which there is nothing to say.
        assert!(scene.measured(&response) == Cell(2, 1, 1, 1, 200, ""), "{}", scene.measured(&response));
        let second = scene.provider.cached().unwrap();
        assert_eq!(scene.api.asked(), [&first, &second].map(|token| Some(token.authorization().clone())));
        assert_eq!(scene.there()[0].headers[AUTHORIZATION], second.authorization());
    }
}
