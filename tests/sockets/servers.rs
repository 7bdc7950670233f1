//! A server for what the fake does not do: it keeps what came byte by byte, and answers with any bytes.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// Answers HTTP/1.1 requests with prepared bytes, one after another, whatever is asked; when there are none left, or
/// when an answer says `connection: close`, it closes the connection. Stops when dropped.
pub(crate) struct RawServer {
    origin: String,
    shared: Arc<Mutex<Shared>>,
    server: AbortHandle,
}

struct Shared {
    answers: VecDeque<Vec<u8>>,
    received: Vec<Vec<u8>>,
    connections: usize,
}

impl RawServer {
    pub(crate) async fn listen<A: Into<Vec<u8>>>(answers: impl IntoIterator<Item = A>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let answers = answers.into_iter().map(Into::into).collect();
        let shared = Arc::new(Mutex::new(Shared { answers, received: Vec::new(), connections: 0 }));
        let server = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Self { origin, shared, server }
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The requests so far: head and body, as they came.
    pub(crate) fn received(&self) -> Vec<Vec<u8>> {
        self.shared.lock().unwrap().received.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.lock().unwrap().connections
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Mutex<Shared>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        shared.lock().unwrap().connections += 1;
        connections.spawn(serve(stream, Arc::clone(&shared)));
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Mutex<Shared>>) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        let answer = {
            let mut shared = shared.lock().unwrap();
            shared.received.push(request);
            shared.answers.pop_front()
        };
        let Some(answer) = answer else { return };
        stream.write_all(&answer).await.unwrap();
        if String::from_utf8_lossy(&answer).contains("connection: close") {
            return;
        }
    }
}

/// One request with its body, whose length must be given; none when the client has closed the connection.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(length) = request_length(buffer).filter(|length| *length <= buffer.len()) {
            return Some(buffer.drain(..length).collect());
        }
        if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

/// How long the request at the beginning of `bytes` is, once its head is there.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let lines = String::from_utf8_lossy(&bytes[..head]);
    let body = lines.lines().find_map(|line| line.strip_prefix("content-length: "));
    Some(head + body.map_or(0, |length| length.parse().unwrap()))
}
