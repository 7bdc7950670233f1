//! The report: aligned text, each finding with what it means for a user of the crate.

const COLUMN: usize = 25;

/// Lines so far.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<String>,
}

impl Report {
    pub(crate) fn section(&mut self, title: &str) {
        self.lines.push(format!("\n{title}"));
    }

    /// A value of several lines stays in its column.
    pub(crate) fn fact(&mut self, label: &str, value: impl AsRef<str>) {
        let labels = [label].into_iter().chain(std::iter::repeat(""));
        let lines = value.as_ref().lines().zip(labels);
        self.lines.extend(lines.map(|(line, label)| format!("  {label:<COLUMN$}{line}")));
    }

    /// A fact, and below it what it means.
    pub(crate) fn finding(&mut self, label: &str, value: impl AsRef<str>, meaning: impl AsRef<str>) {
        self.fact(label, value);
        self.fact("", format!("-> {}", meaning.as_ref()));
    }

    /// The text; the verdict, which is known last, comes first.
    pub(crate) fn headed(self, verdict: &str) -> String {
        format!("{verdict}\n{}\n", self.lines.join("\n"))
    }
}
