//! A token endpoint that answers every request with another token and keeps what it was asked.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use neonomics_auth::{Credentials, Environment, TokenProvider};

#[derive(Clone, Default)]
pub(crate) struct Recorder {
    requests: Arc<Mutex<Vec<Request<Bytes>>>>,
}

impl Recorder {
    pub(crate) fn provider(&self, environment: Environment, credentials: Credentials) -> TokenProvider {
        let recorder = self.clone();
        TokenProvider::builder(environment, credentials)
            .transport(tower::service_fn(move |request: Request<Full<Bytes>>| recorder.clone().answer(request)))
            .build()
            .unwrap()
    }

    /// The requests since the last call.
    pub(crate) fn take(&self) -> Vec<Request<Bytes>> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    /// The client secrets that were sent since the last call.
    pub(crate) fn secrets(&self) -> Vec<String> {
        self.take().iter().map(|request| parameter(request, "client_secret")).collect()
    }

    async fn answer(self, request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let mut requests = self.requests.lock().unwrap();
        requests.push(Request::from_parts(head, body));
        let token = format!("token-{}", fastrand::u64(..));
        let answer = serde_json::json!({ "access_token": token, "expires_in": 3600 });
        Ok(Response::new(Full::from(answer.to_string())))
    }
}

/// A parameter of the form, which must be there once.
pub(crate) fn parameter(request: &Request<Bytes>, name: &str) -> String {
    let mut values: Vec<String> = form_urlencoded::parse(request.body())
        .filter(|(found, _)| found == name)
        .map(|(_, value)| value.into_owned())
        .collect();
    assert_eq!(values.len(), 1, "{name}");
    values.remove(0)
}
