//! What the server records of an attempt.

use http::HeaderMap;
use tokio::sync::watch;
use tonic::{Status, Streaming};
use tonic_health::pb::HealthCheckRequest;

use crate::api::REFUSAL;

/// A request as it reached the server.
pub(crate) struct Attempt {
    pub(crate) headers: HeaderMap,
    /// The service is to refuse it when it has read so many messages.
    refused_after: Option<usize>,
    messages: watch::Sender<Vec<String>>,
}

impl Attempt {
    pub(crate) fn new(headers: HeaderMap, refused_after: Option<usize>) -> Self {
        Self { headers, refused_after, messages: watch::Sender::default() }
    }

    pub(crate) fn messages(&self) -> Vec<String> {
        self.messages.borrow().clone()
    }

    /// Until so many messages have been read.
    pub(crate) async fn has_read(&self, messages: usize) {
        self.messages.subscribe().wait_for(|read| read.len() >= messages).await.unwrap();
    }

    pub(crate) fn read(&self, message: &HealthCheckRequest) {
        self.messages.send_modify(|messages| messages.push(message.service.clone()));
    }

    /// Reads what a refusal waits for, if there is to be one.
    pub(crate) async fn refused(&self, messages: &mut Streaming<HealthCheckRequest>) -> Result<(), Status> {
        let Some(expected) = self.refused_after else { return Ok(()) };
        for _ in 0..expected {
            let message = messages.message().await?.ok_or_else(|| Status::out_of_range("too few messages"))?;
            self.read(&message);
        }
        Err(Status::unauthenticated(REFUSAL))
    }

    /// The same where there is one message, which has been read.
    pub(crate) fn refused_single(&self) -> Result<(), Status> {
        match self.refused_after {
            None => Ok(()),
            Some(_) => Err(Status::unauthenticated(REFUSAL)),
        }
    }
}
