//! One connection: HTTP/1.1, or HTTP/2 where TLS has agreed on it.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tower::ServiceExt as _;

use super::listener::Serving;

type Result = std::result::Result<(), Box<dyn Error + Send + Sync>>;

/// How many requests one HTTP/2 connection may have open at once.
const MAX_STREAMS: u32 = 64;

/// Serves HTTP/1.1 until the client leaves, is idle for too long, or the server shuts down.
pub async fn http1<I>(io: I, serving: &Serving) -> Result
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(serving.limits.header_timeout)
        .max_buf_size(serving.limits.header_bytes)
        .max_headers(serving.limits.headers);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service(serving)));
    tokio::select! {
        result = connection.as_mut() => return Ok(result?),
        () = serving.shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

/// Serves HTTP/2.
pub async fn http2<I>(io: I, serving: &Serving) -> Result
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(serving.limits.header_bytes.try_into().unwrap_or(u32::MAX));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service(serving)));
    tokio::select! {
        result = connection.as_mut() => return Ok(result?),
        () = serving.shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

fn service(
    serving: &Serving,
) -> TowerToHyperService<
    impl tower::Service<
        Request<Incoming>,
        Response = axum::response::Response,
        Error = std::convert::Infallible,
        Future: Send,
    > + Clone
    + Send
    + 'static,
> {
    let router = serving.router.clone();
    TowerToHyperService::new(
        router.map_request(|request: Request<Incoming>| request.map(Body::new)),
    )
}
