//! What is searched for, in every spelling that it could be printed in.

use std::error::Error;
use std::fmt::{Debug, Display, Write};

/// Where it must be escaped, and where a search for plain letters would not find it.
pub(crate) const SECRET: &str = "Qz7vRk+&%=ü 9XwLm2Tp";
/// A `b64token`; a number is appended.
pub(crate) const ACCESS: &str = "Hj5nBf.~+/8YcGd3Ws";
/// Opaque; a number is appended.
pub(crate) const REFRESH: &str = "Kv4tMx+/=6PbZq1Ru";

/// Fewer characters than this in a row are taken for chance.
const WINDOW: usize = 6;

/// Panics when a canary is in `text`.
#[track_caller]
pub(crate) fn assert_silent(what: &str, text: &str) {
    for (name, canary) in [("client secret", SECRET), ("access token", ACCESS), ("refresh token", REFRESH)] {
        if let Some(sighting) = sighting(text, canary) {
            panic!("{what} shows the {name} as {sighting:?}:\n{text}");
        }
    }
}

/// All that can be printed of a value.
pub(crate) fn printed<T: Debug + ?Sized>(value: &T) -> String {
    format!("{value:?}\n{value:#?}")
}

/// All that can be printed of an error and of what is behind it.
pub(crate) fn printed_error(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        writeln!(text, "{error}\n{error:#}\n{error:?}\n{error:#?}").unwrap();
        next = error.source();
    }
    text
}

/// The first spelling of `canary` that is in `text`.
pub(crate) fn sighting(text: &str, canary: &str) -> Option<String> {
    spellings(canary).into_iter().find(|spelling| text.contains(spelling.as_str()))
}

fn spellings(canary: &str) -> Vec<String> {
    let characters: Vec<char> = canary.chars().collect();
    let bytes = canary.as_bytes();
    let percent = |escape: fn(u8) -> String| {
        each(bytes, |byte| if byte.is_ascii_alphanumeric() { char::from(byte).into() } else { escape(byte) })
    };
    let mut spellings: Vec<String> = characters.windows(WINDOW).map(|window| window.iter().collect()).collect();
    // As `Debug` has bytes in a list, and as dumps have them.
    for window in bytes.windows(WINDOW) {
        spellings.push(listed(window));
        spellings.push(each(window, |byte| format!("{byte:02x}")));
        spellings.push(each(window, |byte| format!("{byte:02X}")));
    }
    // As it is in a form and in a URL.
    spellings.push(percent(|byte| format!("%{byte:02X}")));
    spellings.push(percent(|byte| format!("%{byte:02x}")));
    spellings.push(form_urlencoded::byte_serialize(bytes).collect());
    // As it is in `Authorization: Basic`, alone or behind something else.
    for before in ["", "x", "xx"] {
        let encoded = base64(format!("{before}{canary}").as_bytes());
        // The first and the last characters belong to the neighbours too.
        let inside = &encoded[before.len() * 4 / 3 + usize::from(!before.is_empty())..canary.len() * 4 / 3 - 2];
        spellings.push(inside.to_owned());
        spellings.push(inside.replace('+', "-").replace('/', "_"));
    }
    spellings
}

fn each(bytes: &[u8], spelling: impl Fn(u8) -> String) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &spelling(*byte))
}

fn listed(bytes: &[u8]) -> String {
    bytes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes
        .chunks(3)
        .flat_map(|chunk| {
            let bits = chunk.iter().fold(0, |bits, byte| (bits << 8) | usize::from(*byte)) << (8 * (3 - chunk.len()));
            (0..=chunk.len()).map(move |index| char::from(ALPHABET[(bits >> (18 - 6 * index)) & 63]))
        })
        .collect()
}

/// The control: where a canary is, it is found, in every spelling.
#[test]
fn e1_the_search_finds_a_canary_in_every_spelling() {
    struct Leak;
    impl Display for Leak {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "the secret is {SECRET}, do not tell")
        }
    }
    assert!(sighting(&Leak.to_string(), SECRET).is_some());
    assert!(sighting(&printed(&Leak.to_string()), SECRET).is_some());

    for canary in [SECRET, ACCESS, REFRESH] {
        let form: String = form_urlencoded::Serializer::new(String::new()).append_pair("a", canary).finish();
        let basic = |id: &str| base64(format!("{id}:{canary}").as_bytes());
        for (spelling, text) in [
            ("as it is", canary.to_owned()),
            ("in the middle", format!("error={canary}\u{201d}")),
            ("a half of it", canary.chars().skip(canary.chars().count() / 2).collect()),
            ("another half", canary.chars().take(canary.chars().count() / 2).collect()),
            ("a literal", format!("{canary:?}")),
            ("bytes", format!("{:?}", canary.as_bytes())),
            ("bytes of a buffer", format!("{:?}", bytes::Bytes::from(canary))),
            ("hexadecimal", each(canary.as_bytes(), |byte| format!("{byte:02x}"))),
            ("JSON", serde_json::json!({ "token": canary }).to_string()),
            ("a form", form),
            ("base64, first alignment", basic("id")),
            ("base64, second alignment", basic("the-id")),
            ("base64, third alignment", basic("an-id")),
            ("base64 alone", base64(canary.as_bytes())),
            ("base64 for URLs", base64(canary.as_bytes()).replace('+', "-").replace('/', "_")),
        ] {
            assert!(sighting(&text, canary).is_some(), "{spelling}: {text}");
        }
    }
    assert_silent("nothing", "a text without any of them, and with Qz7vR, which is too short");
}
