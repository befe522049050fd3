//! One connection: HTTP/1.1, or HTTP/2 if the TLS handshake agreed on it.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time;
use tokio_util::io::InspectReader;

use super::context::{ConnectionContext, Peer};
use super::header_limit::HeaderLimit;
use super::timeouts::ConnectionTimeouts;
use crate::config::Limits;

/// The reason why a connection ended before its client closed it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("the client exceeded a timeout and did not close the connection")]
    Expired,
}

/// The maximum number of concurrent requests on one HTTP/2 connection.
const MAX_STREAMS: u32 = 64;

/// The time a client gets to close its connection after it exceeded a timeout.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// Serves HTTP/1.1 until the client closes the connection, exceeds a timeout, or the server shuts down.
pub(super) async fn http1<I>(
    io: I,
    peer: IpAddr,
    context: &ConnectionContext,
) -> Result<(), ConnectionError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = (context.limits)();
    let timeouts = ConnectionTimeouts::new();
    let io = InspectReader::new(io, {
        let timeouts = Arc::clone(&timeouts);
        move |bytes: &[u8]| {
            if !bytes.is_empty() {
                timeouts.received();
            }
        }
    });
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(limits.header_bytes)
        .max_headers(limits.max_headers)
        .serve_connection(TokioIo::new(io), service(peer, &limits, context, &timeouts));
    run(connection, &timeouts, &limits, context).await
}

/// Serves HTTP/2.
pub(super) async fn http2<I>(
    io: I,
    peer: IpAddr,
    context: &ConnectionContext,
) -> Result<(), ConnectionError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = (context.limits)();
    let timeouts = ConnectionTimeouts::new();
    let connection = http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(limits.header_bytes.try_into().unwrap_or(u32::MAX))
        .serve_connection(TokioIo::new(io), service(peer, &limits, context, &timeouts));
    run(connection, &timeouts, &limits, context).await
}

async fn run<C>(
    connection: C,
    timeouts: &ConnectionTimeouts,
    limits: &Limits,
    context: &ConnectionContext,
) -> Result<(), ConnectionError>
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let mut connection = pin!(connection);
    let expired = tokio::select! {
        result = connection.as_mut() => return Ok(result?),
        () = context.shutdown.cancelled() => false,
        () = timeouts.expired(limits) => true,
    };
    connection.as_mut().graceful_shutdown();
    if expired {
        return match time::timeout(CLOSE_GRACE, connection).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(ConnectionError::Expired),
        };
    }
    Ok(connection.await?)
}

fn service(
    peer: IpAddr,
    limits: &Limits,
    context: &ConnectionContext,
    timeouts: &Arc<ConnectionTimeouts>,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send + 'static>
+ use<> {
    let timeouts = Arc::clone(timeouts);
    let router = HeaderLimit {
        inner: context.router.clone(),
        max: limits.max_headers,
        respond: context.too_many_headers,
    };
    service_fn(move |mut request: Request<Incoming>| {
        let (router, answering) = (router.clone(), timeouts.answer());
        async move {
            let _answering = answering;
            request.extensions_mut().insert(Peer(peer));
            router.call(request.map(Body::new)).await
        }
    })
}
