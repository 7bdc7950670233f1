//! The raw client: one HTTP/1.1 connection to a peer, kept for as long as the peer keeps it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub(super) struct Wire {
    authority: String,
    open: Option<SendRequest<Full<Bytes>>>,
}

/// An answer as it came, and whether the connection outlived it.
#[derive(Clone)]
pub(super) struct Heard {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) kept: bool,
}

impl Wire {
    /// To `http://AUTHORITY`.
    pub(super) fn to(origin: &str) -> Self {
        let authority = origin.strip_prefix("http://").expect("a peer is on loopback, without TLS").to_owned();
        Self { authority, open: None }
    }

    /// Another connection to the same peer.
    pub(super) fn another(&self) -> Self {
        Self { authority: self.authority.clone(), open: None }
    }

    pub(super) async fn connect(&mut self) {
        let stream = TcpStream::connect(&self.authority).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        self.open = Some(sender);
    }

    pub(super) async fn ask(&mut self, mut request: Request<Full<Bytes>>) -> Heard {
        let host = HeaderValue::from_str(&self.authority).unwrap();
        request.headers_mut().insert(HOST, host);
        if self.open.is_none() {
            self.connect().await;
        }
        let mut sender = self.open.take().unwrap();
        let asked = format!("{} {}", request.method(), request.uri());
        let answer = async {
            let response =
                sender.send_request(request).await.expect("a connection that was kept takes the next request");
            let (head, body) = response.into_parts();
            (head, body.collect().await.unwrap().to_bytes())
        };
        let answer = tokio::time::timeout(Duration::from_secs(60), answer).await;
        let (head, body) = answer.unwrap_or_else(|_| panic!("{asked} is not answered"));
        let closes = head.headers.get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        let kept = !closes && sender.ready().await.is_ok();
        self.open = kept.then_some(sender);
        Heard { status: head.status.as_u16(), headers: head.headers, body, kept }
    }
}
