//! A bound address, and the loop that accepts connections on it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::time;
use tokio_rustls::TlsAcceptor;

use super::address::{self, BindError};
use super::connection::{self, ConnectionError};
use super::context::ConnectionContext;
use crate::config::{Limits, ListenSettings};
use crate::tls::ServerTls;

/// A listener that is bound but does not accept connections yet.
pub(crate) struct Listener {
    /// The name in logs and metrics.
    name: &'static str,
    socket: TcpListener,
    tls: Option<Arc<ServerTls>>,
}

/// The number of connections of each peer.
type Peers = Arc<Mutex<HashMap<IpAddr, usize>>>;

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
        let open = Arc::new(());
        let peers = Peers::default();
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
            let Some(permits) = take_permits(&open, &peers, peer, &context) else {
                continue;
            };
            let (tls, context) = (self.tls.clone(), Arc::clone(&context));
            let tracker = context.connections.clone();
            tracker.spawn(async move {
                context.metrics.open.inc();
                serve(stream, peer, tls.as_deref(), &context).await;
                context.metrics.open.dec();
                drop(permits);
            });
        }
    }
}

/// Takes the permits of one more connection, unless the listener or the peer has as many as it may.
fn take_permits(
    open: &Arc<()>,
    peers: &Peers,
    peer: IpAddr,
    context: &ConnectionContext,
) -> Option<(Arc<()>, PeerPermit)> {
    let Limits {
        max_connections,
        max_connections_per_peer,
        ..
    } = (context.limits)();
    // The listener holds one reference, and each connection another one.
    if Arc::strong_count(open) > max_connections {
        context.metrics.rejected("connections");
        return None;
    }
    let permit = Arc::clone(open);
    let Some(peer_permit) = PeerPermit::take(peers, peer, max_connections_per_peer) else {
        context.metrics.rejected("connections_per_peer");
        return None;
    };
    Some((permit, peer_permit))
}

/// Logs the error, most likely a lack of file descriptors, and waits for connections to close.
async fn accept_failed(name: &str, error: &io::Error) {
    tracing::error!(listener = name, reason = %error, "cannot accept a connection");
    time::sleep(Duration::from_millis(100)).await;
}

/// Serves a connection to its end.
async fn serve(
    stream: TcpStream,
    peer: IpAddr,
    tls: Option<&ServerTls>,
    context: &ConnectionContext,
) {
    // A response is one small write; waiting for more to send would only delay it.
    let _ = stream.set_nodelay(true);
    let result = match tls {
        None => connection::http1(stream, peer, context).await,
        // Boxed, because it is large: a connection without TLS should not pay for it.
        Some(tls) => Box::pin(serve_tls(stream, peer, tls, context)).await,
    };
    if let Err(error) = result {
        tracing::trace!(%peer, reason = %error, "connection ended");
    }
}

async fn serve_tls(
    stream: TcpStream,
    peer: IpAddr,
    tls: &ServerTls,
    context: &ConnectionContext,
) -> Result<(), ConnectionError> {
    let handshake = TlsAcceptor::from(tls.current()).accept(stream);
    let timeout = (context.limits)().handshake_timeout;
    let result = tokio::select! {
        // Nothing is lost: no request was received yet.
        () = context.shutdown.cancelled() => return Ok(()),
        result = time::timeout(timeout, handshake) => result,
    };
    let result = result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    match result {
        Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
            connection::http2(stream, peer, context).await
        }
        Ok(stream) => connection::http1(stream, peer, context).await,
        Err(reason) => {
            context.metrics.rejected("tls_handshake");
            tracing::debug!(%peer, %reason, "TLS handshake failed");
            Ok(())
        }
    }
}

/// The permit for one connection of a peer. Dropping it returns the permit.
struct PeerPermit {
    peers: Peers,
    peer: IpAddr,
}

// === impl PeerPermit ===

impl PeerPermit {
    fn take(peers: &Peers, peer: IpAddr, max: usize) -> Option<Self> {
        let mut counts = peers.lock();
        let count = counts.entry(peer).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        drop(counts);
        let peers = Arc::clone(peers);
        Some(PeerPermit { peers, peer })
    }
}

impl Drop for PeerPermit {
    fn drop(&mut self) {
        let mut counts = self.peers.lock();
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}
