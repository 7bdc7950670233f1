//! Text of a server, made fit to be shown.

use neonomics_auth::BoxError;

/// What is shown instead of a text that contains something of ours.
const CUT: &str = "<cut>";

/// In characters.
const LONGEST: usize = 256;

/// In characters: so much of a secret or a token gives it away.
const BEGINNING: usize = 16;

/// What must not be shown: the id, the secret, and every token met so far.
pub(crate) struct Quotes {
    ours: Vec<String>,
}

impl Quotes {
    pub(crate) fn new(id: &str, secret: &str) -> Self {
        let mut quotes = Self { ours: Vec::new() };
        quotes.hide(id);
        quotes.hide(secret);
        quotes
    }

    /// From now on. Of a long text its beginning is enough: a server may have cut it.
    pub(crate) fn hide(&mut self, text: &str) {
        let ours: String = plain(text).chars().take(BEGINNING).collect();
        if !ours.is_empty() {
            self.ours.push(ours);
        }
    }

    /// Without characters that hide or reorder, and cut: to a length, or to nothing where it contains what is ours, be it as
    /// it is or as a form carries it.
    pub(crate) fn quote(&self, text: &str) -> String {
        let text = plain(text);
        let decoded: String =
            form_urlencoded::parse(text.replace(['&', '='], "%26").as_bytes()).map(|(text, _)| plain(&text)).collect();
        if self.ours.iter().any(|ours| text.contains(ours.as_str()) || decoded.contains(ours.as_str())) {
            return CUT.to_owned();
        }
        text.chars().take(LONGEST).collect()
    }

    /// An error and what is behind it, without URLs: their queries are the user's.
    pub(crate) fn failure(&self, error: BoxError) -> String {
        let error = match error.downcast::<reqwest::Error>() {
            Ok(error) => error.without_url().into(),
            Err(error) => error,
        };
        let ours = error.is::<neonomics_auth::Error>();
        // The crate's own text is fit to be shown; an id that is a common word would cut it.
        let mut text = if ours { error.to_string() } else { self.quote(&error.to_string()) };
        let mut behind = error.source();
        while let Some(error) = behind {
            text = format!("{text}: {}", self.quote(&error.to_string()));
            behind = error.source();
        }
        text
    }
}

fn plain(text: &str) -> String {
    let hides =
        |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    text.chars().filter(|&c| !c.is_control() && !hides(c)).collect()
}
