//! The HTTP side: accepts connections, serves them until told to stop, and never leaves a body unread.
//!
//! A request that is refused before its body was read would end in a closed connection, and the client might lose
//! the answer to a reset. So the rest of the body is read and thrown away first, under a deadline.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use s3s::service::S3Service;
use s3s::stream::{ByteStream, DynByteStream, RemainingLength};
use s3s::{Body, HttpError, StdError};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long requests in progress may take once the server is told to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// How long the rest of a refused body is read for.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);
/// How long to wait when no more files can be opened, before accepting again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Most bytes read from a connection at once.
const READ_BUFFER: usize = 512 << 10;

/// Serves until `stopping` is cancelled, then lets requests in progress end under a deadline.
pub async fn serve(listener: TcpListener, service: S3Service, stopping: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            () = stopping.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        // Small answers must not wait for the client's delayed acknowledgement.
        stream.set_nodelay(true).ok();
        let service = service.clone();
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(READ_BUFFER)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(move |request| answer(service.clone(), request)),
            );
        connections.spawn(graceful.watch(connection));
    }
    drop(listener);
    timeout(STOP_DEADLINE, graceful.shutdown()).await.ok();
    connections.shutdown().await;
}

async fn answer(
    service: S3Service,
    request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let waits = request.headers().contains_key(http::header::EXPECT);
    let (head, body) = request.into_parts();
    let body = SharedBody::new(body);
    let stream: DynByteStream = Box::pin(body.clone());
    let answer = service
        .call(Request::from_parts(head, Body::from(stream)))
        .await;
    body.drain(waits).await;
    answer
}

/// A request's body, read by the service, whose rest can be read when the service is done with it.
#[derive(Clone)]
struct SharedBody(Arc<Mutex<Shared>>);

struct Shared {
    body: Body,
    begun: bool,
}

impl SharedBody {
    fn new(body: Incoming) -> Self {
        Self(Arc::new(Mutex::new(Shared {
            body: Body::from(body),
            begun: false,
        })))
    }

    /// Reads what is left. A client that waits for "100 Continue" has sent nothing yet, and is left waiting no more.
    async fn drain(mut self, client_waits: bool) {
        let begun = self.lock().begun;
        if client_waits && !begun {
            return;
        }
        let rest = async { while matches!(self.next().await, Some(Ok(_))) {} };
        timeout(DRAIN_DEADLINE, rest).await.ok();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream for SharedBody {
    type Item = Result<Bytes, StdError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut shared = self.lock();
        shared.begun = true;
        Pin::new(&mut shared.body).poll_next(cx)
    }
}

impl ByteStream for SharedBody {
    fn remaining_length(&self) -> RemainingLength {
        self.lock().body.remaining_length()
    }
}
