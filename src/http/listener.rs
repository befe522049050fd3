//! A bound address, and the loop that accepts connections on it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::io::Errno;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time;
use tokio_rustls::TlsAcceptor;

use super::connection::{self, ConnectionError};
use super::context::ConnectionContext;
use crate::config::{Limits, ListenSettings};
use crate::tls::ServerTls;

/// The number of connections that the kernel queues until they are accepted.
const BACKLOG: u32 = 4096;

/// A listener that is bound but does not accept connections yet.
pub(crate) struct Listener {
    /// The name in logs and metrics.
    name: &'static str,
    socket: TcpListener,
    tls: Option<Arc<ServerTls>>,
}

/// The reason why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}:{port} ({name}.address, {name}.port): {error}{}", hint(.error))]
pub(crate) struct BindError {
    name: &'static str,
    address: String,
    port: u16,
    error: io::Error,
}

/// The number of connections of each peer.
type Peers = Arc<Mutex<HashMap<IpAddr, usize>>>;

// === impl Listener ===

impl Listener {
    /// Binds the address as Go does: of the addresses of a host name, the first IPv4 address is taken.
    ///
    /// # Errors
    /// If the name has no address, or the address cannot be bound.
    pub(crate) async fn bind(
        name: &'static str,
        settings: &ListenSettings,
        tls: Option<Arc<ServerTls>>,
    ) -> Result<Self, BindError> {
        let socket = bind(&settings.address, settings.port)
            .await
            .map_err(|error| BindError {
                name,
                address: settings.address.clone(),
                port: settings.port,
                error,
            })?;
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

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program listens there, possibly another Airlock: `ss -ltnp` shows which one"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher port"
        }
        _ => "",
    }
}

async fn bind(address: &str, port: u16) -> io::Result<TcpListener> {
    // Go's `net.Listen` takes "all IPv4 addresses" for all addresses, and so does coreos/airlock.
    if matches!(address, "" | "0.0.0.0" | "::") {
        let everywhere = listen((Ipv6Addr::UNSPECIFIED, port).into());
        return match everywhere {
            Err(error) if has_no_ipv6(&error) => listen((Ipv4Addr::UNSPECIFIED, port).into()),
            result => result,
        };
    }
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((address, port)).await?.collect();
    let address = addresses
        .iter()
        .find(|address| address.is_ipv4())
        .or(addresses.first())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host name has no address"))?;
    listen(*address)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        SockRef::from(&socket).set_only_v6(false)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Reports whether an error comes from a kernel that was built or configured without IPv6.
fn has_no_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
    )
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
