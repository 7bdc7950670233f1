//! The page: its entries, and which of them is a message's.

use std::error::Error;

const PAGE: &str = include_str!("../../src/troubleshooting.md");

/// What stands for a message or a symptom.
#[derive(Debug)]
pub(crate) struct Entry {
    heading: &'static str,
    /// What it means, and what to do.
    pub(crate) text: &'static str,
}

/// The one entry for what an error says.
#[track_caller]
pub(crate) fn entry(error: &(dyn Error + 'static)) -> Entry {
    entry_for(&as_written(&error.to_string()))
}

/// The one entry for a message as it is.
#[track_caller]
pub(crate) fn entry_for(message: &str) -> Entry {
    let mut found: Vec<_> = entries().filter(|entry| entry.is_for(message)).collect();
    assert_eq!(found.len(), 1, "{message}\n{found:#?}");
    found.remove(0)
}

/// The entry for what has no message.
#[track_caller]
pub(crate) fn symptom(symptom: &str) -> Entry {
    let heading = format!("Symptom: {symptom}");
    entries().find(|entry| entry.heading == heading).unwrap_or_else(|| panic!("no entry `{heading}`"))
}

fn entries() -> impl Iterator<Item = Entry> {
    let sections = PAGE.split("\n### ").skip(1).filter_map(|section| section.split("\n## ").next()?.split_once('\n'));
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    sections.chain(rows).map(|(heading, text)| Entry { heading, text: text.trim() })
}

impl Entry {
    fn is_for(&self, message: &str) -> bool {
        self.messages().any(|written| covers(written, message))
    }

    /// What stands between pairs of backticks.
    fn messages(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.heading.split("``").skip(1).step_by(2).map(str::trim)
    }
}

/// Without the end that tells of a hold, and each number is `N`.
fn as_written(message: &str) -> String {
    let message = message.split_once("; next attempt in ").map_or(message, |(message, _)| message);
    let mut written = String::new();
    for character in message.chars() {
        match character {
            '0'..='9' if written.ends_with('N') => {}
            '0'..='9' => written.push('N'),
            _ => written.push(character),
        }
    }
    written
}

/// Whether a message is the written one, in which `…` stands for anything.
fn covers(written: &str, message: &str) -> bool {
    let mut pieces = written.split('…');
    let Some(mut rest) = pieces.next().and_then(|begin| message.strip_prefix(begin)) else { return false };
    let mut exact = true;
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
        exact = piece.is_empty();
    }
    rest.is_empty() || (exact && written.ends_with('…'))
}

#[test]
fn each_entry_says_what_to_do_and_none_says_it_twice() {
    let mut headings = Vec::new();
    for entry in entries().filter(|entry| !matches!(entry.heading, "message" | "---")) {
        let named = entry.messages().count();
        assert!(named > 0 || entry.heading.starts_with("Symptom: "), "{entry:?}");
        assert!(entry.text.len() > 10, "{entry:?}");
        // What begins with anything would be the entry of every message.
        assert!(entry.messages().all(|written| !written.starts_with('…')), "{entry:?}");
        assert!(!headings.contains(&entry.heading), "{entry:?}");
        headings.push(entry.heading);
    }
    let lines = PAGE.lines().filter(|line| line.starts_with("### ") || line.starts_with("| `` "));
    assert_eq!(headings.len(), lines.count(), "each is read");
}

#[test]
fn a_message_is_compared_whole_but_for_numbers_holds_and_what_differs() {
    assert_eq!(as_written("down (status 503); next attempt in 17 s"), "down (status N)");
    assert!(covers("down (status N)", "down (status N)"));
    assert!(covers("down (…status N)", "down (status N)") && covers("down (…status N)", "down (busy, status N)"));
    assert!(covers("realm `…`…", "realm `a`") && covers("realm `…`…", "realm `a`: text"));
    for other in ["down", "down (status N), too", "all is down (status N)", "Down (status N)"] {
        assert!(!covers("down (status N)", other) && !covers("down (…status N)", other), "{other}");
    }
}
