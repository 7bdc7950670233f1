//! What the fake received: requests, numbers, the transcript.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, Version};

use super::endpoint::Endpoint;

/// What a [`FakeNeonomics`](super::FakeNeonomics) received so far.
///
/// A request counts once its body has arrived whole, whatever becomes of it then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Exchanges with `grant_type=client_credentials`.
    pub client_credentials: usize,
    /// Exchanges with `grant_type=refresh_token`.
    pub refresh: usize,
    /// Requests at the token endpoint with another grant, or with none that can be read.
    pub other_grants: usize,
    /// Requests at the logout endpoint.
    pub logout: usize,
    /// Requests at the API.
    pub requests: usize,
    /// Requests at the API that were answered with 401, the scripted ones included.
    pub unauthorized: usize,
    /// Requests that the fake does not know; [`expect`](super::FakeNeonomics::expect) panics if
    /// there is one.
    pub unknown: usize,
}

/// A request as a [`FakeNeonomics`](super::FakeNeonomics) received it.
///
/// Its fields hold the secrets that were sent. `Debug` shows names of headers and the length of the
/// body only.
#[derive(Clone)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// The method.
    pub method: Method,
    /// The URI: in process as the client gave it, on the port as the protocol carried it.
    pub uri: Uri,
    /// The version of HTTP.
    pub version: Version,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
    /// The trailers after the body.
    pub trailers: Option<HeaderMap>,
    /// When it arrived, counted from the start of the fake.
    pub at: Duration,
    /// The status that it was answered with, once it was.
    pub status: Option<StatusCode>,
    pub(super) endpoint: Endpoint,
    /// The token that it brought, by its name.
    pub(super) token: String,
    /// What came of it.
    pub(super) remark: String,
}

impl fmt::Debug for RecordedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedRequest")
            .field("method", &self.method)
            .field("path", &self.uri.path())
            .field("version", &self.version)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("body_length", &self.body.len())
            .field("at", &self.at)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Everything received, in the order of arrival.
#[derive(Default)]
pub(super) struct Journal {
    requests: Vec<RecordedRequest>,
    counts: Counts,
}

impl Journal {
    /// Returns the number of the request: its place in the journal, from 0.
    pub(super) fn arrived(&mut self, request: RecordedRequest) -> usize {
        let counts = &mut self.counts;
        *match request.endpoint {
            Endpoint::ClientCredentials => &mut counts.client_credentials,
            Endpoint::Refresh => &mut counts.refresh,
            Endpoint::OtherGrant => &mut counts.other_grants,
            Endpoint::Logout => &mut counts.logout,
            Endpoint::Api => &mut counts.requests,
            Endpoint::Unknown => &mut counts.unknown,
        } += 1;
        self.requests.push(request);
        self.requests.len() - 1
    }

    pub(super) fn answered(&mut self, number: usize, status: StatusCode) {
        let request = &mut self.requests[number];
        request.status = Some(status);
        if request.endpoint == Endpoint::Api && status == StatusCode::UNAUTHORIZED {
            self.counts.unauthorized += 1;
        }
    }

    pub(super) fn request(&self, number: usize) -> &RecordedRequest {
        &self.requests[number]
    }

    pub(super) fn remark(&mut self, number: usize, remark: &str) {
        let remarks = &mut self.requests[number].remark;
        if !remarks.is_empty() && !remark.is_empty() {
            remarks.push_str("; ");
        }
        remarks.push_str(remark);
    }

    pub(super) fn requests(&self) -> &[RecordedRequest] {
        &self.requests
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn transcript(&self) -> String {
        let header = ["", "time", "asked", "with", "answer", ""].map(str::to_owned);
        let lines = self.requests.iter().enumerate().map(|(number, request)| request.line(number + 1));
        let lines: Vec<_> = std::iter::once(header).chain(lines).collect();
        let widths: [usize; COLUMNS] =
            std::array::from_fn(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0));
        let mut text = String::new();
        for line in lines {
            let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

const COLUMNS: usize = 6;

impl RecordedRequest {
    /// The cells of its line in the transcript.
    fn line(&self, number: usize) -> [String; COLUMNS] {
        [
            number.to_string(),
            format!("{:>10.3} s", self.at.as_secs_f64()),
            match self.endpoint {
                Endpoint::ClientCredentials => "client_credentials".to_owned(),
                Endpoint::Refresh => "refresh_token".to_owned(),
                Endpoint::Logout => "logout".to_owned(),
                Endpoint::OtherGrant | Endpoint::Api | Endpoint::Unknown => {
                    format!("{} {}", self.method, self.uri.path())
                }
            },
            self.token.clone(),
            self.status.map_or_else(|| "none".to_owned(), |status| status.as_str().to_owned()),
            self.remark.clone(),
        ]
    }
}
