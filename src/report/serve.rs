//! All runs as pages, on this machine only: an index, and the page of each run as rendered from its record now.
//!
//! It listens on the loopback address, answers GET alone, and only to those who ask for this machine by name, so that
//! no page of elsewhere can read reports through a browser.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::{Doing, Error, Result};
use crate::history::History;

use super::html;

/// A listener on the loopback address, and that address.
pub async fn listen(port: u16) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| {
            Error::usage(format!("port {port} cannot be used: {error}"))
                .hint("name another one with --port, or 0 for a free one")
        })?;
    let address = listener.local_addr().doing("find the address")?;
    Ok((listener, address))
}

/// Answers until it is told to stop.
pub async fn serve(listener: TcpListener, folder: &Path, cancel: CancellationToken) {
    let folder: Arc<PathBuf> = Arc::new(folder.to_owned());
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => return,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else { continue };
        let folder = folder.clone();
        let answer = service_fn(move |request| {
            let folder = folder.clone();
            async move { Ok::<_, Infallible>(answer(&request, &folder)) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
        connections.spawn(async move {
            // A browser that goes away is no trouble.
            let _ = connection.await;
        });
    }
}

fn answer(request: &Request<Incoming>, folder: &Path) -> Response<Full<Bytes>> {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if !["127.0.0.1", "localhost"].contains(&name) {
        return refused(StatusCode::FORBIDDEN, "ask for 127.0.0.1 or localhost");
    }
    if request.method() != http::Method::GET {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered");
    }
    match page(request.uri().path(), folder) {
        Ok(page) => response(StatusCode::OK, "text/html; charset=utf-8", page),
        Err(error) => refused(StatusCode::NOT_FOUND, &error.message()),
    }
}

/// `/` is the index, `/run/NAME` the page of a run.
fn page(path: &str, folder: &Path) -> Result<String> {
    let history = History::read(folder)?;
    if path == "/" {
        return Ok(html::index(&history));
    }
    let run = path
        .strip_prefix("/run/")
        .ok_or_else(|| Error::usage("there is no such page"))?;
    let record = history.record(run)?;
    let series = history.of_drills(&record);
    let mut own = series.values().flatten().filter(|entry| entry.run == run);
    let changed = own.next().and_then(|entry| history.doubt(entry));
    Ok(html::noted(&record, &series, changed.as_deref()))
}

fn refused(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", format!("{why}\n"))
}

fn response(status: StatusCode, kind: &str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Ok(kind) = kind.parse() {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        header::HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    response
}
