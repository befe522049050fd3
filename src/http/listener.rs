//! A bound address, and the loop that accepts connections on it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time;
use tokio_rustls::TlsAcceptor;

use super::address::{self, BindError};
use super::connection::{self, ConnectionError};
use super::connections::{Connections, OpenConnection, Registration};
use super::context::ConnectionContext;
use super::forwarded;
use super::io::WatchedIo;
use crate::config::ListenSettings;
use crate::denials::DenialReason;
use crate::network::ClientNetwork;
use crate::tls::{HandshakeError, ServerTls};

/// A listener that is bound but does not accept connections yet.
pub(crate) struct Listener {
    /// The name in logs and metrics.
    name: &'static str,
    socket: TcpListener,
    tls: Option<Arc<ServerTls>>,
}

/// The bytes that TLS encrypts before the client has received them.
const TLS_BUFFER: usize = 16 << 10;

// === impl Listener ===

impl Listener {
    /// Binds the address of the section `name`.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub(crate) async fn bind(
        name: &'static str,
        settings: &ListenSettings,
        tls: Option<Arc<ServerTls>>,
    ) -> Result<Self, BindError> {
        let socket = address::listen(name, settings).await?;
        Ok(Listener { name, socket, tls })
    }

    /// Returns the bound address.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts connections until the shutdown.
    pub(crate) async fn serve(self, context: ConnectionContext) {
        let context = Arc::new(context);
        let connections = Connections::new(context.metrics.clone());
        loop {
            let accepted = tokio::select! {
                () = context.shutdown.cancelled() => return,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    accept_failed(self.name, &error).await;
                    continue;
                }
            };
            // A socket for both protocols reports an IPv4 client with a mapped IPv6 address.
            let peer = peer.ip().to_canonical();
            let is_proxy = forwarded::is_trusted(&context.trusted_proxies, peer);
            let network = (!is_proxy).then(|| ClientNetwork::of(peer));
            let limits = (context.limits)();
            let registration = match connections.register(network, self.tls.is_some(), limits) {
                Ok(registration) => registration,
                Err(limit) => {
                    let detail = format!("limits.max_{limit} is reached");
                    context.record(DenialReason::ConnectionLimit, peer, &detail);
                    continue;
                }
            };
            let (tls, context) = (self.tls.clone(), Arc::clone(&context));
            let tracker = context.connections.clone();
            tracker.spawn(async move {
                let Registration(open) = &registration;
                context.metrics.open.inc();
                tokio::select! {
                    () = serve(self.name, stream, peer, tls.as_deref(), open, &context) => {}
                    () = open.evicted() => evicted(peer, open, &context),
                }
                context.metrics.open.dec();
            });
        }
    }
}

/// Logs the error, most likely a lack of file descriptors, and waits for connections to close.
async fn accept_failed(name: &str, error: &io::Error) {
    tracing::error!(listener = name, reason = %error, "cannot accept a connection");
    time::sleep(Duration::from_millis(100)).await;
}

/// Records that a connection was closed in favor of another one. The client of an idle one has lost nothing.
fn evicted(peer: IpAddr, open: &OpenConnection, context: &ConnectionContext) {
    tracing::trace!(%peer, "connection closed in favor of another one");
    if !open.is_idle() {
        let detail = "closed in favor of another connection";
        context.record(DenialReason::ConnectionLimit, peer, detail);
    }
}

/// Serves a connection to its end.
async fn serve(
    listener: &'static str,
    stream: TcpStream,
    peer: IpAddr,
    tls: Option<&ServerTls>,
    open: &Arc<OpenConnection>,
    context: &ConnectionContext,
) {
    // A response is one small write; waiting for more to send would only delay it.
    let _ = stream.set_nodelay(true);
    let result = match tls {
        None => connection::http1(stream, peer, open, context).await,
        // Boxed, because it is large: a connection without TLS should not pay for it.
        Some(tls) => Box::pin(serve_tls(stream, peer, tls, open, context)).await,
    };
    if let Err(error) = result {
        failed(listener, peer, &error, open, context);
    }
}

/// Logs the end of a connection before its client has closed it, and records the client if it was rejected.
fn failed(
    listener: &'static str,
    peer: IpAddr,
    error: &ConnectionError,
    open: &OpenConnection,
    context: &ConnectionContext,
) {
    let Some(denial) = error.denial() else {
        tracing::trace!(%peer, reason = %error, "connection ended");
        return;
    };
    let reason = error.to_string();
    if let ConnectionError::Handshake(_) = error {
        context.metrics.rejected("tls_handshake");
        if !open.has_begun_handshake() {
            // A health check, or a connection that was opened in advance.
            tracing::debug!(%peer, reason, listener, "TLS handshake failed");
            return;
        }
        tracing::info!(%peer, reason, listener, "TLS handshake failed");
    } else {
        tracing::info!(%peer, reason, listener, "connection rejected");
    }
    context.record(denial, peer, &reason);
}

async fn serve_tls(
    stream: TcpStream,
    peer: IpAddr,
    tls: &ServerTls,
    open: &Arc<OpenConnection>,
    context: &ConnectionContext,
) -> Result<(), ConnectionError> {
    let stream = WatchedIo::encrypted(stream, Arc::clone(open));
    let handshake = TlsAcceptor::from(tls.current()).accept(stream);
    let timeout = open.limits().handshake_timeout;
    let result = tokio::select! {
        // Nothing is lost: no request was received yet.
        () = context.shutdown.cancelled() => return Ok(()),
        result = time::timeout(timeout, handshake) => result,
    };
    let mut stream = match result {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(HandshakeError::from(error).into()),
        Err(_) => return Err(HandshakeError::TimedOut.into()),
    };
    open.handshake_ended();
    let (_, tls) = stream.get_mut();
    tls.set_buffer_limit(Some(TLS_BUFFER));
    if tls.alpn_protocol() == Some(b"h2") {
        connection::http2(stream, peer, open, context).await
    } else {
        connection::http1(stream, peer, open, context).await
    }
}
