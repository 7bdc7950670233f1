//! Exact numbers, asserted.

use super::record::Counts;

/// Asserts what a [`FakeNeonomics`](super::FakeNeonomics) has received, number by number.
///
/// Each method compares at once. It panics, at the line of the caller, with what was expected, what
/// came, and the transcript. The numbers are those of the moment of
/// [`expect`](super::FakeNeonomics::expect).
#[derive(Debug)]
pub struct Expectation {
    counts: Counts,
    transcript: String,
}

impl Expectation {
    #[track_caller]
    pub(super) fn new(counts: Counts, transcript: String) -> Self {
        let expectation = Self { counts, transcript };
        expectation.compare("requests that FakeNeonomics does not know", 0, counts.unknown);
        expectation
    }

    /// Exactly `n` exchanges with `grant_type=client_credentials`.
    #[track_caller]
    pub fn client_credentials(&self, n: usize) -> &Self {
        self.compare("exchanges by client_credentials", n, self.counts.client_credentials)
    }

    /// Exactly `n` exchanges with `grant_type=refresh_token`.
    #[track_caller]
    pub fn refresh(&self, n: usize) -> &Self {
        self.compare("exchanges by refresh_token", n, self.counts.refresh)
    }

    /// Exactly `n` requests at the token endpoint with another grant, or with none that can be read.
    #[track_caller]
    pub fn other_grants(&self, n: usize) -> &Self {
        self.compare("exchanges by another grant", n, self.counts.other_grants)
    }

    /// Exactly `n` requests at the logout endpoint.
    #[track_caller]
    pub fn logout(&self, n: usize) -> &Self {
        self.compare("logouts", n, self.counts.logout)
    }

    /// Exactly `n` requests at the API.
    #[track_caller]
    pub fn requests(&self, n: usize) -> &Self {
        self.compare("requests at the API", n, self.counts.requests)
    }

    /// Exactly `n` of the requests at the API were answered with 401.
    #[track_caller]
    pub fn unauthorized(&self, n: usize) -> &Self {
        self.compare("requests answered with 401", n, self.counts.unauthorized)
    }

    #[track_caller]
    fn compare(&self, what: &str, expected: usize, came: usize) -> &Self {
        assert!(expected == came, "{what}: expected {expected}, came {came}\n\n{}", self.transcript);
        self
    }
}
