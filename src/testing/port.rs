//! The fake on a loopback port: HTTP/1.1 and HTTP/2, told apart by how the client begins.
//!
//! The server serves a handle that does not hold the port, so the port lives no longer than the
//! handles outside.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

use super::FakeNeonomics;
use super::state::Shared;

const MOST_STREAMS: u32 = 1_000_000;

/// Closes the port and its connections when dropped.
pub(super) struct Port {
    server: AbortHandle,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub(super) async fn listen() -> io::Result<FakeNeonomics> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let shared = Arc::new(Shared::new(format!("http://{}", listener.local_addr()?)));
    let served = FakeNeonomics { shared: Arc::clone(&shared), _port: None };
    let server = tokio::spawn(accept(listener, served)).abort_handle();
    Ok(FakeNeonomics { shared, _port: Some(Arc::new(Port { server })) })
}

/// Owns the connections: when this task is aborted, they are.
async fn accept(listener: TcpListener, fake: FakeNeonomics) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, for example: the next attempt needs one to be closed first.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        fake.shared.connections.fetch_add(1, Ordering::Relaxed);
        // Answers are small; without this some would wait for an acknowledgement.
        stream.set_nodelay(true).ok();
        let service = TowerToHyperService::new(fake.clone());
        connections.spawn(async move {
            let mut server = auto::Builder::new(TokioExecutor::new());
            // By default 200 requests may be under way on a connection; a gate would wait for the next one forever.
            server.http2().max_concurrent_streams(MOST_STREAMS);
            // An error is a client that left, or a fault that broke the connection on purpose.
            server.serve_connection(TokioIo::new(stream), service).await.ok();
        });
        while connections.try_join_next().is_some() {}
    }
}
