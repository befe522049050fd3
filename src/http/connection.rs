//! One connection: HTTP/1.1, or HTTP/2 if the TLS handshake agreed on it.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::{Request, Version};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time;

use super::connections::{MAX_STREAMS, OpenConnection, Unread};
use super::context::{ConnectionContext, Peer};
use super::forwarded;
use super::head::{self, CheckedRouter, HeadLimits, RefusedHead};
use super::io::WatchedIo;
use crate::denials::DenialReason;
use crate::tls::HandshakeError;

/// The reason why a connection ended before its client closed it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error(
        "the client speaks TLS, but the listener does not; its URL may begin with https:// instead of http://"
    )]
    SpeaksTls,
    #[error("request head not received completely and in time")]
    SlowHead,
    #[error("the client did not close the connection in time")]
    TooLate,
}

// === impl ConnectionError ===

impl ConnectionError {
    /// Returns the reason if the client was rejected before a request. A head that is too large is a request that is
    /// refused.
    pub(super) fn denial(&self) -> Option<DenialReason> {
        match self {
            ConnectionError::Handshake(error) if error.is_about_certificates() => {
                Some(DenialReason::TlsCertificate)
            }
            ConnectionError::Handshake(_) | ConnectionError::SpeaksTls => {
                Some(DenialReason::TlsHandshake)
            }
            ConnectionError::SlowHead => Some(DenialReason::RequestTimeout),
            ConnectionError::Http(error) if error.is_parse_too_large() => None,
            ConnectionError::Http(error) if error.is_parse() => Some(DenialReason::InvalidRequest),
            ConnectionError::Http(_) | ConnectionError::TooLate => None,
        }
    }
}

/// The reason why the server ends a connection.
enum EndReason {
    Shutdown,
    /// The connection has received as much as it may.
    WornOut,
    /// The client exceeded a timeout.
    Expired,
}

/// The bytes that a client may send on an HTTP/2 connection before the server has processed them: the minimum of RFC
/// 9113, section 6.9.2. A stream may send a usual body.
const CONNECTION_WINDOW: u32 = 65_535;
const STREAM_WINDOW: u32 = 16 << 10;

/// The bytes of responses that hyper buffers for each HTTP/2 stream.
const SEND_BUFFER: usize = 16 << 10;

/// The bytes of hyper's state and buffers.
const HTTP1_BYTES: usize = 16 << 10;
const HTTP2_BYTES: usize = 28 << 10;

/// The bytes that a request costs beside its head and body.
const REQUEST_BYTES: usize = 2 << 10;

/// The bytes of a response that a connection buffers. The rest of a large one is shared by all connections.
const MAX_RESPONSE_BYTES: usize = 64 << 10;

/// The time a client gets to close its connection after it exceeded a timeout.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// Serves HTTP/1.1 until the client closes the connection, exceeds a timeout, or the server shuts down.
pub(super) async fn http1<I>(
    io: I,
    peer: IpAddr,
    open: &Arc<OpenConnection>,
    context: &ConnectionContext,
) -> Result<(), ConnectionError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = open.limits();
    let too_large = RefusedHead::TooLarge(HeadLimits::of(limits));
    let refuse = Arc::clone(&context.refuse);
    let mut io = WatchedIo::http1(io, Arc::clone(open), move || refuse(&too_large, peer));
    let is_slow = tokio::select! {
        biased;
        result = io.receive_head(limits.header_bytes) => match result {
            Ok(()) => false,
            Err(_) => return Ok(()),
        },
        () = context.shutdown.cancelled() => false,
        () = open.expired() => true,
    };
    // A part of a request that was received before the shutdown is answered, too.
    if !io.has_received() {
        return Ok(());
    }
    if is_slow {
        return Err(ConnectionError::SlowHead);
    }
    let speaks_tls = io.has_received_tls();
    open.allocated(HTTP1_BYTES);
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(limits.header_bytes)
        .max_headers(limits.max_headers)
        .serve_connection(TokioIo::new(io), service(peer, open, context));
    let result = run(pin!(connection), open, context).await;
    match result {
        Err(_) if speaks_tls => Err(ConnectionError::SpeaksTls),
        result => result,
    }
}

/// Serves HTTP/2.
pub(super) async fn http2<I>(
    io: I,
    peer: IpAddr,
    open: &Arc<OpenConnection>,
    context: &ConnectionContext,
) -> Result<(), ConnectionError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let max_head_bytes = head::max_bytes(open.limits());
    let io = WatchedIo::http2(io, Arc::clone(open));
    open.speaks_http2();
    open.allocated(HTTP2_BYTES);
    let connection = http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(max_head_bytes.try_into().unwrap_or(u32::MAX))
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .serve_connection(TokioIo::new(io), service(peer, open, context));
    run(pin!(connection), open, context).await
}

async fn run<C>(
    mut connection: Pin<&mut C>,
    open: &OpenConnection,
    context: &ConnectionContext,
) -> Result<(), ConnectionError>
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let reason = tokio::select! {
        result = connection.as_mut() => return Ok(result?),
        () = context.shutdown.cancelled() => EndReason::Shutdown,
        () = open.worn_out() => EndReason::WornOut,
        () = open.expired() => EndReason::Expired,
    };
    connection.as_mut().graceful_shutdown();
    let too_late = async {
        match reason {
            EndReason::Shutdown => open.expired().await,
            EndReason::WornOut => tokio::select! {
                () = open.expired() => {}
                () = open.worn_out() => {}
            },
            EndReason::Expired => time::sleep(CLOSE_GRACE).await,
        }
    };
    tokio::select! {
        result = connection => Ok(result?),
        () = too_late => Err(ConnectionError::TooLate),
    }
}

fn service(
    peer: IpAddr,
    open: &Arc<OpenConnection>,
    context: &ConnectionContext,
) -> impl Service<
    Request<Incoming>,
    Response = Response<impl HttpBody<Data = Bytes, Error = axum::Error> + use<>>,
    Error = Infallible,
    Future: Send + 'static,
> + use<> {
    let open = Arc::clone(open);
    let router = CheckedRouter::new(
        context.router.clone(),
        open.limits(),
        Arc::clone(&context.refuse),
    );
    let trusted_proxies = Arc::clone(&context.trusted_proxies);
    service_fn(move |mut request: Request<Incoming>| {
        let head_bytes = match request.version() {
            Version::HTTP_2 => head::size(&request),
            // It is among the received bytes.
            _ => 0,
        };
        let answering = open.request(REQUEST_BYTES + head_bytes);
        let open = Arc::clone(&open);
        let client = forwarded::client(&trusted_proxies, peer, request.headers());
        request.extensions_mut().insert(Peer(client));
        let response = router.call(request.map(|body| request_body(body, &open)), client);
        async move {
            let _answering = answering;
            Ok(watched(response.await?, &open))
        }
    })
}

/// Returns a body that is recorded as incomplete until it is dropped.
fn request_body(body: Incoming, open: &Arc<OpenConnection>) -> Body {
    if body.is_end_stream() {
        return Body::empty();
    }
    let incomplete = open.body();
    Body::new(body.map_frame(move |frame| {
        let _ = &incomplete;
        frame
    }))
}

/// Data of a response with the record that the client has not read them yet.
struct UnreadData {
    data: Bytes,
    _unread: Arc<Unread>,
}

impl AsRef<[u8]> for UnreadData {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// Records the response until all of its data are written.
fn watched(
    response: Response,
    open: &Arc<OpenConnection>,
) -> Response<impl HttpBody<Data = Bytes, Error = axum::Error> + use<>> {
    let size = response.body().size_hint().exact();
    let bytes = usize::try_from(size.unwrap_or_default()).unwrap_or(usize::MAX);
    let bytes = bytes.min(MAX_RESPONSE_BYTES);
    let unread = (bytes > 0).then(|| Arc::new(open.response(bytes)));
    response.map(|body| {
        body.map_frame(move |frame| {
            frame.map_data(|data| match &unread {
                Some(unread) => Bytes::from_owner(UnreadData {
                    data,
                    _unread: Arc::clone(unread),
                }),
                None => data,
            })
        })
    })
}
