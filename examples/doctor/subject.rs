//! Who is examined: the command line and the credentials.

use std::env;
use std::ffi::OsString;
use std::fs;

use http::Uri;
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{Credentials, Environment};

const SANDBOX_REALM: &str = "https://sandbox.neonomics.io/auth/realms/sandbox";
const SANDBOX_API: &str = "https://sandbox.neonomics.io/ics/v3/banks";

#[derive(PartialEq)]
pub(crate) enum Asked {
    Help,
    Fake,
    Real { realm: String, api: String },
}

/// The command line, without the program's name. The error is for the user.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Asked, String> {
    let mut words = words.map(|word| word.to_string_lossy().into_owned());
    let (mut realm, mut api, mut fake) = (None, None, false);
    while let Some(word) = words.next() {
        let url = match word.as_str() {
            "--help" | "-h" => return Ok(Asked::Help),
            "--fake" => {
                fake = true;
                continue;
            }
            "--realm" => &mut realm,
            "--api" => &mut api,
            // What is not known is not repeated: it may be a secret in the wrong place.
            _ => return Err("an argument is not known".to_owned()),
        };
        *url = Some(words.next().ok_or_else(|| format!("{word} needs a URL"))?);
    }
    match (realm, api, fake) {
        (None, None, true) => Ok(Asked::Fake),
        (None, None, false) => Ok(Asked::Real { realm: SANDBOX_REALM.to_owned(), api: SANDBOX_API.to_owned() }),
        (Some(realm), Some(api), false) => Ok(Asked::Real { realm, api }),
        (_, _, true) => Err("--fake has a realm and an API of its own".to_owned()),
        _ => Err("--realm and --api belong together: the API receives the realm's token".to_owned()),
    }
}

/// A realm, an API, and credentials for them.
pub(crate) struct Subject {
    /// Without a slash at its end.
    pub(crate) realm: String,
    pub(crate) api: Uri,
    pub(crate) environment: Environment,
    /// For the crate.
    pub(crate) credentials: Credentials,
    /// The same in plain, for the questions that the crate does not ask.
    pub(crate) id: String,
    pub(crate) secret: String,
    /// Where the credentials come from.
    pub(crate) source: &'static str,
    /// It listens as long as it is held.
    _fake: Option<FakeNeonomics>,
}

impl Subject {
    /// The error is for the user, and quotes nothing.
    pub(crate) async fn new(asked: Asked) -> Result<Self, String> {
        let (realm, api) = match asked {
            Asked::Real { realm, api } => (realm, api),
            Asked::Fake | Asked::Help => return Self::fake().await,
        };
        let credentials = Credentials::from_env().map_err(|error| error.to_string())?;
        let id = env::var("NEONOMICS_CLIENT_ID").map_err(|error| error.to_string())?;
        let (secret, source) = match env::var("NEONOMICS_CLIENT_SECRET") {
            Ok(secret) => (secret, "NEONOMICS_CLIENT_SECRET"),
            Err(_) => (secret_from_file()?, "NEONOMICS_CLIENT_SECRET_FILE"),
        };
        let (api, environment) = places(&realm, &api)?;
        let realm = realm.trim_end_matches('/').to_owned();
        Ok(Self { realm, api, environment, credentials, id, secret, source, _fake: None })
    }

    async fn fake() -> Result<Self, String> {
        let fake = FakeNeonomics::listen().await.map_err(|error| format!("no port on 127.0.0.1: {error}"))?;
        let realm = format!("{}/auth/realms/sandbox", fake.origin());
        let (api, environment) = places(&realm, &format!("{}/ics/v3/banks", fake.origin()))?;
        Ok(Self {
            realm,
            api,
            environment,
            credentials: fake.credentials(),
            id: fake.client_id().to_owned(),
            secret: fake.client_secret(),
            source: "FakeNeonomics",
            _fake: Some(fake),
        })
    }
}

fn places(realm: &str, api: &str) -> Result<(Uri, Environment), String> {
    let api: Uri = api.parse().map_err(|_| "the URL of --api is not one".to_owned())?;
    let (Some(scheme), Some(authority)) = (api.scheme_str(), api.authority()) else {
        return Err("the URL of --api has no scheme or no host".to_owned());
    };
    let environment =
        Environment::realm(realm, format!("{scheme}://{authority}")).map_err(|error| error.to_string())?;
    Ok((api, environment))
}

/// As the crate reads it: one line break at the end is cut.
fn secret_from_file() -> Result<String, String> {
    let path = env::var_os("NEONOMICS_CLIENT_SECRET_FILE").unwrap_or_default();
    let text = fs::read_to_string(path).map_err(|error| format!("NEONOMICS_CLIENT_SECRET_FILE: {error}"))?;
    let line = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if line.is_empty() { Err("NEONOMICS_CLIENT_SECRET_FILE: it is empty".to_owned()) } else { Ok(line.to_owned()) }
}
