//! One connection: HTTP/1.1, or HTTP/2 where TLS has agreed on it.

use std::convert::Infallible;
use std::error::Error;
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
use tower::ServiceExt as _;

use super::activity::Activity;
use super::answer;
use super::listener::Serving;
use crate::fleetlock::Refusal;

/// How a connection ended.
pub type Result = std::result::Result<(), Box<dyn Error + Send + Sync>>;

/// How many requests one HTTP/2 connection may have open at once.
const MAX_STREAMS: u32 = 64;

/// How long a client that has kept us waiting gets to take a goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// Where a request comes from, as an extension of it.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Serves HTTP/1.1 until the client leaves, keeps us waiting for too long, or the server shuts down.
pub async fn http1<I>(io: I, peer: IpAddr, serving: &Serving) -> Result
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Activity::new();
    let io = InspectReader::new(io, {
        let activity = Arc::clone(&activity);
        move |bytes: &[u8]| {
            if !bytes.is_empty() {
                activity.bytes();
            }
        }
    });
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(serving.limits().header_bytes)
        .max_headers(serving.limits().headers)
        .serve_connection(TokioIo::new(io), service(peer, serving, &activity));
    run(connection, &activity, serving).await
}

/// Serves HTTP/2.
pub async fn http2<I>(io: I, peer: IpAddr, serving: &Serving) -> Result
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Activity::new();
    let connection = http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(serving.limits().header_bytes.try_into().unwrap_or(u32::MAX))
        .serve_connection(TokioIo::new(io), service(peer, serving, &activity));
    run(connection, &activity, serving).await
}

async fn run<C>(connection: C, activity: &Activity, serving: &Serving) -> Result
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let limits = serving.limits();
    let mut connection = pin!(connection);
    let overdue = tokio::select! {
        result = connection.as_mut() => return Ok(result?),
        () = serving.shutdown.cancelled() => false,
        () = activity.overdue(&limits) => true,
    };
    connection.as_mut().graceful_shutdown();
    if overdue {
        return match time::timeout(GOODBYE, connection).await {
            Ok(result) => Ok(result?),
            Err(_) => Err("the client kept us waiting".into()),
        };
    }
    Ok(connection.await?)
}

fn service(
    peer: IpAddr,
    serving: &Serving,
    activity: &Arc<Activity>,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send + 'static>
+ use<> {
    let (router, activity) = (serving.router.clone(), Arc::clone(activity));
    let most_headers = serving.limits().headers;
    service_fn(move |mut request: Request<Incoming>| {
        let (router, answering) = (router.clone(), activity.answer());
        async move {
            let _answering = answering;
            // For HTTP/1.1 hyper has seen to it.
            if request.headers().len() > most_headers {
                return Ok(answer::refused(&Refusal::TooManyHeaders {
                    max: most_headers,
                }));
            }
            request.extensions_mut().insert(Peer(peer));
            router.oneshot(request.map(Body::new)).await
        }
    })
}
