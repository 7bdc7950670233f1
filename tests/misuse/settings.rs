//! Settings that are refused before anything is asked.

use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::Command;

use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{Credentials, Environment, TokenProvider};

use crate::page;

const REALM: &str = "https://example.com/realms/sandbox";
const API: &str = "https://example.com";

const VARIABLES: [&str; 3] = ["NEONOMICS_CLIENT_ID", "NEONOMICS_CLIENT_SECRET", "NEONOMICS_CLIENT_SECRET_FILE"];

#[test]
fn each_url_that_is_refused_can_be_looked_up() {
    page::entry(&Environment::production("a/b").unwrap_err());
    let too_long = format!("https://example.com/{}/realms/sandbox", "a".repeat(65_480));
    for realm in ["https://example.com", "https://example.com/realms/a?b", &too_long] {
        page::entry(&Environment::realm(realm, API).unwrap_err());
    }
    page::entry(&Environment::realm(REALM, "https://example.com/ics").unwrap_err());
    for url in [
        "not a URL",
        "/realms/sandbox",
        "ftp://example.com/realms/sandbox",
        "http://example.com/realms/sandbox",
        "https://example.com/realms/sandbox#",
        "https://user@example.com/realms/sandbox",
        "https://example.com:99999/realms/sandbox",
    ] {
        let of_the_realm = Environment::realm(url, API).unwrap_err();
        let of_the_api = Environment::realm(REALM, url.replace("/realms/sandbox", "")).unwrap_err();
        assert!(of_the_realm.to_string().starts_with("the realm URL "), "{of_the_realm}");
        page::entry(&of_the_realm);
        // What is left of a path alone is no URL at all.
        assert!(of_the_api.to_string().starts_with("the API origin "), "{of_the_api}");
        page::entry(&of_the_api);
    }
    page::entry(&Environment::realm(REALM, "/").unwrap_err());
}

#[test]
fn each_credential_that_is_refused_can_be_looked_up() {
    for (id, secret) in [("", "secret"), ("id", "")] {
        let builder = TokenProvider::builder(Environment::sandbox(), Credentials::new(id, secret));
        page::entry(&builder.transport(FakeNeonomics::new()).build().unwrap_err());
    }
    page::entry(&TokenProvider::fixed(Environment::sandbox(), "Bearer token").unwrap_err());
}

#[cfg(not(feature = "reqwest"))]
#[test]
fn a_provider_without_a_transport_can_be_looked_up() {
    let builder = TokenProvider::builder(Environment::sandbox(), Credentials::new("id", "secret"));
    page::entry(&builder.build().unwrap_err());
}

#[test]
fn each_variable_that_is_refused_can_be_looked_up() {
    let [id, secret, file] = VARIABLES;
    let not_unicode = || OsString::from_vec(vec![0xff]);
    let text = OsString::from;
    let cases = [
        (vec![], "NEONOMICS_CLIENT_ID is not set"),
        (vec![(id, text(""))], "NEONOMICS_CLIENT_ID is empty"),
        (vec![(id, not_unicode())], "NEONOMICS_CLIENT_ID is not Unicode"),
        (vec![(id, text("id"))], "neither"),
        (vec![(id, text("id")), (secret, text(""))], "NEONOMICS_CLIENT_SECRET is empty"),
        (vec![(id, text("id")), (file, not_unicode())], "NEONOMICS_CLIENT_SECRET_FILE is not Unicode"),
        (vec![(id, text("id")), (secret, text("a")), (file, text("b"))], "both"),
    ];
    for (variables, begin) in cases {
        // A process of its own: variables are for all threads.
        let mut process = Command::new(env::current_exe().unwrap());
        process.args(["--exact", "settings::in_a_process_the_variables_are_refused", "--ignored", "--nocapture"]);
        for variable in VARIABLES {
            process.env_remove(variable);
        }
        let output = process.envs(variables).output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        // A test that is not found passes too.
        assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
        assert!(stdout.contains(&format!("refused: {begin}")), "{stdout}");
    }
}

#[test]
#[ignore = "started by another, in a process with variables of its own"]
fn in_a_process_the_variables_are_refused() {
    let error = Credentials::from_env().unwrap_err();
    println!("refused: {error}");
    page::entry(&error);
}
