//! What does not fit is refused by the compiler, in words that help.

#![allow(clippy::unwrap_used)]

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::process::Command;

/// The words of another compiler differ.
const COMPILER: &str = "rustc 1.95.";

/// Where the cases are, and what rustc says to each.
const CASES: &str = "tests/compile_fail";

/// For a body that is not `Clone`.
const WAYS_OUT: [&str; 2] = ["`.buffer_body(limit)`", "`.without_retry()`"];

/// After a change of the messages: `TRYBUILD=overwrite cargo test --test compile_fail`, and read what changed.
#[test]
fn b6_what_does_not_fit_is_refused_in_words_that_help() {
    let version = compiler();
    if version.starts_with(COMPILER) {
        trybuild::TestCases::new().compile_fail(format!("{CASES}/*.rs"));
    } else {
        // Not by `println!`, which the harness keeps to itself.
        writeln!(io::stderr(), "skipped: the expected messages are those of {COMPILER}x, this is {version}").unwrap();
    }
}

/// The expectations are what is compared above: this holds them to what they are there for, on any compiler.
#[test]
fn b6_each_message_about_a_body_that_is_not_clone_names_the_way_out() {
    let mut messages = 0;
    for case in ["body_not_clone_handed_on", "body_not_clone_called", "body_not_clone_called_generic"] {
        let expected = fs::read_to_string(format!("{CASES}/{case}.stderr")).unwrap();
        for message in expected.split("\n\n") {
            for way in WAYS_OUT {
                assert!(message.contains(way), "{case}:\n{message}");
            }
            messages += 1;
        }
    }
    assert_eq!(messages, 5, "two handed on, two called, one called over a service for any body");

    // Under an outer layer a call is told the cause alone; handed on, it is told all.
    let expected = fs::read_to_string(format!("{CASES}/body_not_clone_under_an_outer_layer.stderr")).unwrap();
    let (called, handed_on) = expected.split_once("\n\n").unwrap();
    assert!(called.contains("doesn't satisfy `BoxBody<bytes::Bytes, Infallible>: Clone`"), "{called}");
    for way in WAYS_OUT {
        assert!(handed_on.contains(way), "{handed_on}");
    }
}

fn compiler() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let output = Command::new(rustc).arg("--version").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
