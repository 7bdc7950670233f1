//! Client id and secret: where they come from, how often they are asked for, and how they are sent.

use std::collections::VecDeque;
use std::env;
use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE};
use http::{HeaderValue, Method};
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{Credentials, Environment, Error, TokenProvider};

use crate::recorder::{Recorder, parameter};

const ID: &str = "NEONOMICS_CLIENT_ID";
const SECRET: &str = "NEONOMICS_CLIENT_SECRET";
const SECRET_FILE: &str = "NEONOMICS_CLIENT_SECRET_FILE";

// Given

#[test]
fn empty_credentials_are_refused_before_anything_is_asked() {
    let build = |credentials| {
        TokenProvider::builder(Environment::sandbox(), credentials).transport(FakeNeonomics::new()).build()
    };
    assert_eq!(build(Credentials::new("", "secret")).unwrap_err().to_string(), "the client id is empty");
    assert_eq!(build(Credentials::new("", "")).unwrap_err().to_string(), "the client id is empty");
    assert_eq!(build(Credentials::new("id", "")).unwrap_err().to_string(), "the client secret is empty");
    // What a closure will say is not known yet; its id is.
    let closure = |id: &str| Credentials::from_fn(id, || async { Ok::<_, io::Error>("secret") });
    assert_eq!(build(closure("")).unwrap_err().to_string(), "the client id is empty");
    build(closure("id")).unwrap();
}

#[tokio::test]
async fn e3_the_credentials_are_in_the_form_and_nowhere_else() {
    let recorder = Recorder::default();
    let provider = recorder.provider(Environment::sandbox(), Credentials::new("the-id", "the-secret"));
    provider.token().await.unwrap();

    let [request] = recorder.take().try_into().unwrap();
    assert_eq!(request.method(), Method::POST);
    assert_eq!(request.headers()[CONTENT_TYPE], HeaderValue::from_static("application/x-www-form-urlencoded"));
    // RFC 6749 §2.3.1: one way, and never in the URI.
    assert!(!request.headers().contains_key(AUTHORIZATION) && !request.headers().contains_key(COOKIE));
    assert_eq!(request.uri().query(), None);
    assert_eq!(request.body(), "client_id=the-id&client_secret=the-secret&grant_type=client_credentials");
}

// lesson 30
#[tokio::test]
async fn e3_what_a_form_gives_a_meaning_is_escaped_in_it() {
    // Written by hand: an encoder and a decoder of one library could be wrong together.
    for (secret, escaped) in [
        ("a+b", "a%2Bb"),
        ("a&client_id=evil", "a%26client_id%3Devil"),
        ("100%", "100%25"),
        ("%2B", "%252B"),
        ("a b", "a+b"),
        ("ü", "%C3%BC"),
        ("€", "%E2%82%AC"),
        ("🔑", "%F0%9F%94%91"),
        ("a;b#c?d/e\\f\"g'h", "a%3Bb%23c%3Fd%2Fe%5Cf%22g%27h"),
        ("-._*~", "-._*%7E"),
        ("a\nb\r\n\t\0", "a%0Ab%0D%0A%09%00"),
    ] {
        let recorder = Recorder::default();
        let provider = recorder.provider(Environment::sandbox(), Credentials::new(secret, secret));
        provider.token().await.unwrap();
        let [request] = recorder.take().try_into().unwrap();
        let expected = format!("client_id={escaped}&client_secret={escaped}&grant_type=client_credentials");
        assert_eq!(request.body(), expected.as_bytes(), "{secret:?}");
    }
}

// lesson 30
#[tokio::test]
async fn e3_every_printable_character_of_a_secret_arrives() {
    let printable: String = (' '..='~').collect();
    let mut secrets: Vec<String> = printable.chars().map(String::from).collect();
    assert_eq!(secrets.len(), 95);
    // At the ends too, where something could be trimmed.
    secrets.extend([" ", "+", "&", "=", "%", "ü"].map(|end| format!("{end}secret{end}")));
    secrets.extend(["pässwörd", "пароль", "密码", "🔑", "e\u{301}", "\u{feff}secret", "a\u{a0}b"].map(String::from));
    secrets.push(printable.repeat(20));

    let fake = FakeNeonomics::new();
    let asked = secrets.len();
    for secret in secrets {
        fake.set_client_secret(&secret);
        if let Err(error) = fake.provider().token().await {
            panic!("{secret:?}: {error}");
        }
    }
    fake.expect().client_credentials(asked).other_grants(0);
}

/// The control to what precedes: the fake compares.
#[tokio::test]
async fn e3_another_secret_is_refused() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    fake.set_client_secret(&format!("{} ", fake.client_secret()));
    let error = provider.token().await.unwrap_err();
    assert!(error.is_rejected());
    assert_eq!(error.oauth_code(), Some("unauthorized_client"));
}

// Asked for

#[tokio::test(start_paused = true)]
async fn a_closure_is_asked_at_every_exchange_and_at_no_other_time() {
    let recorder = Recorder::default();
    let vault = Vault::with([Ok("first"), Ok("second"), Ok("third")]);
    let provider = recorder.provider(Environment::sandbox(), vault.credentials());
    assert_eq!(vault.left(), 3, "building asks for nothing");

    let first = provider.token().await.unwrap();
    assert_eq!((recorder.secrets(), vault.left()), (vec!["first".to_owned()], 2));
    // A token that is there needs no secret.
    provider.token().await.unwrap();
    assert_eq!(vault.left(), 2);

    let second = provider.renew(&first).await.unwrap();
    provider.renew(&second).await.unwrap();
    assert_eq!((recorder.secrets(), vault.left()), (vec!["second".to_owned(), "third".to_owned()], 0));
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_fails_is_a_passing_fault_with_its_own_error_as_source() {
    let recorder = Recorder::default();
    // A renewal asks three times at most.
    let vault = Vault::with([Err(Sealed(1)), Err(Sealed(2)), Err(Sealed(3)), Ok("at last")]);
    let provider = recorder.provider(Environment::sandbox(), vault.credentials());

    let error = provider.token().await.unwrap_err();
    assert!(error.is_transient() && !error.is_timeout() && !error.is_rejected() && !error.is_malformed());
    assert!(error.to_string().starts_with("the client secret could not be obtained; next attempt in "), "{error}");
    // The last of its failures, and not in one more box.
    assert_eq!(error.source().and_then(|source| source.downcast_ref()), Some(&Sealed(3)));
    assert_eq!(recorder.take().len(), 0, "without a secret nothing is sent");
    assert_eq!(vault.left(), 1);

    // After the hold it is asked again.
    tokio::time::advance(error.retry_after().unwrap()).await;
    provider.token().await.unwrap();
    assert_eq!(recorder.secrets(), ["at last"]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_secret_from_a_closure_is_not_sent() {
    let recorder = Recorder::default();
    let vault = Vault::with([Ok(""), Ok("there it is")]);
    let provider = recorder.provider(Environment::sandbox(), vault.credentials());
    provider.token().await.unwrap();
    assert_eq!(recorder.secrets(), ["there it is"]);
}

// From the environment: each in a process of its own, since variables belong to all threads

#[test]
fn from_env_says_which_variable_is_missing_empty_or_too_many() {
    let neither = "neither NEONOMICS_CLIENT_SECRET nor NEONOMICS_CLIENT_SECRET_FILE is set";
    let both = "both NEONOMICS_CLIENT_SECRET and NEONOMICS_CLIENT_SECRET_FILE are set: keep one";
    for (variables, expected) in [
        (&[][..], "NEONOMICS_CLIENT_ID is not set"),
        (&[(SECRET, "secret")], "NEONOMICS_CLIENT_ID is not set"),
        (&[(ID, ""), (SECRET, "secret")], "NEONOMICS_CLIENT_ID is empty"),
        (&[(ID, "id")], neither),
        (&[(ID, "id"), (SECRET, "")], "NEONOMICS_CLIENT_SECRET is empty"),
        (&[(ID, "id"), (SECRET_FILE, "")], "NEONOMICS_CLIENT_SECRET_FILE is empty"),
        (&[(ID, "id"), (SECRET, "secret"), (SECRET_FILE, "")], "NEONOMICS_CLIENT_SECRET_FILE is empty"),
        (&[(ID, "id"), (SECRET, "secret"), (SECRET_FILE, "/run/secret")], both),
    ] {
        let variables = variables.iter().map(|(name, value)| (*name, OsString::from(value)));
        assert_refused_in_a_process(variables, expected);
    }
}

// lesson 20
#[cfg(unix)]
#[test]
fn from_env_does_not_repeat_a_value_that_is_not_unicode() {
    use std::os::unix::ffi::OsStringExt;

    let canary = || OsString::from_vec(b"canary\xff".to_vec());
    for (id, secret, variable) in [
        (canary(), (SECRET, "secret".into()), ID),
        ("id".into(), (SECRET, canary()), SECRET),
        ("id".into(), (SECRET_FILE, canary()), SECRET_FILE),
    ] {
        // That the text is no other than this is what keeps the value out of it.
        assert_refused_in_a_process([(ID, id), secret], &format!("{variable} is not Unicode"));
    }
}

#[test]
fn from_env_takes_id_and_secret_as_they_are() {
    let variables = [(ID, OsString::from(" id ")), (SECRET, OsString::from(" sécret\n"))];
    in_a_process(variables, "credentials::in_a_process_id_and_secret_are_sent_as_they_are");
}

#[tokio::test]
#[ignore = "run by another test, in a process with the variables that it needs"]
async fn in_a_process_id_and_secret_are_sent_as_they_are() {
    let recorder = Recorder::default();
    let provider = recorder.provider(Environment::sandbox(), Credentials::from_env().unwrap());
    provider.token().await.unwrap();
    let [request] = recorder.take().try_into().unwrap();
    assert_eq!(parameter(&request, "client_id"), " id ");
    assert_eq!(parameter(&request, "client_secret"), " sécret\n");
}

#[test]
fn the_secret_file_is_read_at_every_exchange() {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("secret-{}", std::process::id()));
    let variables = [(ID, OsString::from("id")), (SECRET_FILE, path.into_os_string())];
    in_a_process(variables, "credentials::in_a_process_the_secret_file_changes");
}

#[tokio::test(start_paused = true)]
#[ignore = "run by another test, in a process with the variables that it needs"]
async fn in_a_process_the_secret_file_changes() {
    let path = PathBuf::from(env::var_os(SECRET_FILE).unwrap());
    let recorder = Recorder::default();
    // It need not be there yet.
    let provider = recorder.provider(Environment::sandbox(), Credentials::from_env().unwrap());

    // Not there when it is needed: that may pass, and nothing was sent.
    let error = provider.token().await.unwrap_err();
    assert!(error.is_transient() && !error.is_timeout());
    assert!(error.to_string().starts_with("the client secret could not be obtained; next attempt in "), "{error}");
    assert_eq!(kind(&error), Some(io::ErrorKind::NotFound));
    assert_eq!(recorder.take().len(), 0);
    tokio::time::advance(error.retry_after().unwrap()).await;

    // One line break at its end is cut, whatever it is made of; nothing else is.
    fs::write(&path, "first").unwrap();
    let mut token = provider.token().await.unwrap();
    assert_eq!(recorder.secrets(), ["first"]);
    for (text, secret) in [
        ("second\n", "second"),
        ("third\r\n", "third"),
        ("fourth\n\n", "fourth\n"),
        ("\n fifth \n", "\n fifth "),
        ("sixth\r", "sixth\r"),
    ] {
        fs::write(&path, text).unwrap();
        token = provider.renew(&token).await.unwrap();
        assert_eq!(recorder.secrets(), [secret], "{text:?}");
    }

    // A file that cannot be used does not harm a token that can.
    for (text, expected) in [
        (&b"\n"[..], None),
        (b"canary\xff", Some(io::ErrorKind::InvalidData)),
        (&vec![b'x'; 65_537], Some(io::ErrorKind::InvalidData)),
    ] {
        fs::write(&path, text).unwrap();
        let error = provider.renew(&token).await.unwrap_err();
        assert!(error.is_transient());
        assert_eq!(kind(&error), expected);
        assert!(!format!("{error} {error:?} {:?}", error.source()).contains("canary"));
        assert_eq!(recorder.take().len(), 0);
        assert_eq!(provider.token().await.unwrap().generation(), token.generation());
        tokio::time::advance(error.retry_after().unwrap()).await;
    }
    fs::remove_file(&path).unwrap();
}

#[test]
#[ignore = "run by another test, in a process with the variables that it needs"]
fn in_a_process_from_env_fails() {
    let error = Credentials::from_env().unwrap_err();
    assert_eq!(error.to_string(), env::var("EXPECTED").unwrap());
    assert!(!error.is_rejected() && !error.is_transient() && !error.is_timeout() && !error.is_malformed());
    // `Debug` says no more than that.
    assert!(!format!("{error:?}").contains("canary"));
}

fn assert_refused_in_a_process(variables: impl IntoIterator<Item = (&'static str, OsString)>, expected: &str) {
    let expected = ("EXPECTED", OsString::from(expected));
    in_a_process(variables.into_iter().chain([expected]), "credentials::in_a_process_from_env_fails");
}

/// Runs one ignored test of this target in a process that has these variables and none of ours besides.
#[track_caller]
fn in_a_process(variables: impl IntoIterator<Item = (&'static str, impl AsRef<OsStr>)>, test: &str) {
    let mut process = Command::new(env::current_exe().unwrap());
    process.args(["--exact", test, "--ignored"]).env_remove(ID).env_remove(SECRET).env_remove(SECRET_FILE);
    let output = process.envs(variables).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    // A test that is not found passes too.
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
}

fn kind(error: &Error) -> Option<io::ErrorKind> {
    error.source()?.downcast_ref::<io::Error>().map(io::Error::kind)
}

/// Hands out what it was filled with, one after another.
#[derive(Clone)]
struct Vault(Arc<Mutex<VecDeque<Result<&'static str, Sealed>>>>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Sealed(u8);

impl Vault {
    fn with<const N: usize>(secrets: [Result<&'static str, Sealed>; N]) -> Self {
        Self(Arc::new(Mutex::new(secrets.into())))
    }

    fn credentials(&self) -> Credentials {
        let vault = self.clone();
        Credentials::from_fn("id", move || {
            let secret = vault.0.lock().unwrap().pop_front().expect("asked once too often");
            async move { secret }
        })
    }

    fn left(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the vault is sealed, try {}", self.0)
    }
}

impl std::error::Error for Sealed {}
