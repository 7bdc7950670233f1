//! The four kinds of calls, as generated code has them: a service that sends back what it reads, and its client.
//!
//! The messages are those of the health checks: a request is nothing but a text.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt, stream};
use http::uri::PathAndQuery;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Request, Response, Status, Streaming};
use tonic_health::pb::HealthCheckRequest as Text;
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use crate::attempt::Attempt;
use crate::clients::Authorized;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A text for a text.
    Unary,
    /// All texts in one.
    ClientStreaming,
    /// One text in parts.
    ServerStreaming,
    /// Each text as it comes.
    Bidirectional,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Unary, Self::ClientStreaming, Self::ServerStreaming, Self::Bidirectional];
    /// Those whose client may still be sending when the answer comes.
    pub(crate) const STREAMING: [Self; 2] = [Self::ClientStreaming, Self::Bidirectional];

    /// What a client sends.
    pub(crate) fn question(self) -> &'static [&'static str] {
        if Self::STREAMING.contains(&self) { &["a", "b", "c"] } else { &["a b c"] }
    }

    /// What comes back for it.
    pub(crate) fn answer(self) -> &'static [&'static str] {
        match self {
            Self::Unary | Self::ClientStreaming => &["a b c"],
            Self::ServerStreaming | Self::Bidirectional => &["a", "b", "c"],
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Unary => "/neonomics.test.Echo/Unary",
            Self::ClientStreaming => "/neonomics.test.Echo/ClientStreaming",
            Self::ServerStreaming => "/neonomics.test.Echo/ServerStreaming",
            Self::Bidirectional => "/neonomics.test.Echo/Bidirectional",
        }
    }
}

pub(crate) struct EchoClient {
    grpc: tonic::client::Grpc<Authorized>,
}

impl EchoClient {
    pub(crate) fn new(inner: Authorized) -> Self {
        Self { grpc: tonic::client::Grpc::new(inner) }
    }

    /// The usual question.
    pub(crate) async fn ask(&mut self, kind: Kind) -> Result<Vec<String>, Status> {
        self.call(kind, stream::iter(kind.question().iter().map(|text| (*text).to_owned()))).await
    }

    /// Sends these texts, the first one only if the call takes but one.
    pub(crate) async fn call<T>(&mut self, kind: Kind, texts: T) -> Result<Vec<String>, Status>
    where
        T: Stream<Item = String> + Send + 'static,
    {
        let grpc = &mut self.grpc;
        grpc.ready().await.map_err(Status::from_error)?;
        let path = PathAndQuery::from_static(kind.path());
        let mut texts = Box::pin(texts.map(|service| Text { service }));
        match kind {
            Kind::Unary => {
                let text = texts.next().await.expect("a unary call has a message");
                Ok(vec![grpc.unary(Request::new(text), path, codec()).await?.into_inner().service])
            }
            Kind::ClientStreaming => {
                Ok(vec![grpc.client_streaming(Request::new(texts), path, codec()).await?.into_inner().service])
            }
            Kind::ServerStreaming => {
                let text = texts.next().await.expect("the call has one message");
                read(grpc.server_streaming(Request::new(text), path, codec()).await?.into_inner()).await
            }
            Kind::Bidirectional => read(grpc.streaming(Request::new(texts), path, codec()).await?.into_inner()).await,
        }
    }
}

async fn read(mut texts: Streaming<Text>) -> Result<Vec<String>, Status> {
    let mut read = Vec::new();
    while let Some(text) = texts.message().await? {
        read.push(text.service);
    }
    Ok(read)
}

#[derive(Clone, Copy)]
pub(crate) struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "neonomics.test.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(codec());
            let kind = Kind::ALL.into_iter().find(|kind| kind.path() == request.uri().path());
            Ok(match kind {
                Some(Kind::Unary) => grpc.unary(service_fn(unary), request).await,
                Some(Kind::ClientStreaming) => grpc.client_streaming(service_fn(client_streaming), request).await,
                Some(Kind::ServerStreaming) => grpc.server_streaming(service_fn(server_streaming), request).await,
                Some(Kind::Bidirectional) => grpc.streaming(service_fn(bidirectional), request).await,
                None => Status::unimplemented("no such call").into_http(),
            })
        })
    }
}

async fn unary(request: Request<Text>) -> Result<Response<Text>, Status> {
    let attempt = attempt(&request);
    let text = request.into_inner();
    attempt.read(&text);
    attempt.refused_single()?;
    Ok(Response::new(text))
}

async fn client_streaming(request: Request<Streaming<Text>>) -> Result<Response<Text>, Status> {
    let attempt = attempt(&request);
    let mut texts = request.into_inner();
    attempt.refused(&mut texts).await?;
    while let Some(text) = texts.message().await? {
        attempt.read(&text);
    }
    Ok(Response::new(Text { service: attempt.messages().join(" ") }))
}

type Texts = Pin<Box<dyn Stream<Item = Result<Text, Status>> + Send>>;

async fn server_streaming(request: Request<Text>) -> Result<Response<Texts>, Status> {
    let attempt = attempt(&request);
    let text = request.into_inner();
    attempt.read(&text);
    attempt.refused_single()?;
    let parts: Vec<_> = text.service.split(' ').map(|part| Ok(Text { service: part.to_owned() })).collect();
    Ok(Response::new(Box::pin(stream::iter(parts))))
}

async fn bidirectional(request: Request<Streaming<Text>>) -> Result<Response<Texts>, Status> {
    let attempt = attempt(&request);
    let mut texts = request.into_inner();
    attempt.refused(&mut texts).await?;
    Ok(Response::new(Box::pin(texts.map(move |text| text.inspect(|text| attempt.read(text))))))
}

fn attempt<T>(request: &Request<T>) -> Arc<Attempt> {
    Arc::clone(request.extensions().get().expect("every request is recorded"))
}

fn codec() -> ProstCodec<Text, Text> {
    ProstCodec::default()
}
