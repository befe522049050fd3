//! A bound address, and the loop that accepts connections on it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use rustix::io::Errno;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection;
use crate::config::{Limits, ListenSettings};
use crate::live::LiveReceiver;
use crate::metrics::Metrics;
use crate::tls::ServerTls;

/// How many connections the kernel holds for us while we do not accept.
const BACKLOG: u32 = 4096;

/// A listener that is bound, and does not accept yet.
pub struct Listener {
    /// Its name in logs and metrics.
    name: &'static str,
    socket: TcpListener,
    tls: Option<Arc<ServerTls>>,
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}:{port} ({name}.address, {name}.port): {reason}{}", remedy(.reason))]
pub struct BindError {
    name: &'static str,
    address: String,
    port: u16,
    reason: io::Error,
}

/// What a listener serves its connections with.
pub struct Serving {
    /// The name of the listener.
    pub name: &'static str,
    pub router: Router,
    /// What holds for it of the limits.
    pub limits: fn(&Limits) -> Limits,
    pub live: LiveReceiver,
    pub metrics: Arc<Metrics>,
    /// Stops accepting, and lets connections end after the request that they are at.
    pub shutdown: CancellationToken,
    /// Every connection's task.
    pub connections: TaskTracker,
}

/// How many connections each peer has.
type Peers = Arc<Mutex<HashMap<IpAddr, usize>>>;

// === impl Serving ===

impl Serving {
    /// The limits as they are now; a connection keeps those that it began with.
    pub fn limits(&self) -> Limits {
        (self.limits)(&self.live.get().limits)
    }

    fn rejected(&self, reason: &str) {
        let labels = &[self.name, reason];
        let rejected = &self.metrics.rejected_connections;
        rejected.with_label_values(labels).inc();
    }
}

// === impl Listener ===

impl Listener {
    /// Binds the address as Go does: a name is looked up, and of its addresses the first IPv4 one is taken.
    ///
    /// # Errors
    /// If the name has no address, or the address cannot be bound.
    pub async fn bind(
        name: &'static str,
        settings: &ListenSettings,
        tls: Option<Arc<ServerTls>>,
    ) -> Result<Self, BindError> {
        let socket = bind(&settings.address, settings.port)
            .await
            .map_err(|reason| BindError {
                name,
                address: settings.address.clone(),
                port: settings.port,
                reason,
            })?;
        Ok(Listener { name, socket, tls })
    }

    /// The address that it is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts connections until the shutdown.
    pub async fn serve(self, serving: Serving) {
        let serving = Arc::new(serving);
        let open = Arc::new(());
        let peers = Peers::default();
        let gauge = serving.metrics.connections.with_label_values(&[self.name]);
        loop {
            let accepted = tokio::select! {
                () = serving.shutdown.cancelled() => return,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    accept_failed(self.name, &error).await;
                    continue;
                }
            };
            // What comes by IPv4 to a socket for both has an address of IPv6's form.
            let peer = peer.ip().to_canonical();
            let limits = serving.limits();
            // One reference is ours, each other one is a connection's.
            if Arc::strong_count(&open) > limits.connections {
                serving.rejected("connections");
                continue;
            }
            let permit = Arc::clone(&open);
            let Some(place) = PeerPlace::take(&peers, peer, limits.connections_per_peer) else {
                serving.rejected("connections_per_peer");
                continue;
            };
            let (tls, serving) = (self.tls.clone(), Arc::clone(&serving));
            let gauge = gauge.clone();
            let tracker = serving.connections.clone();
            tracker.spawn(async move {
                gauge.inc();
                serve(stream, peer, tls.as_deref(), &serving).await;
                gauge.dec();
                drop((permit, place));
            });
        }
    }
}

fn remedy(reason: &io::Error) -> &'static str {
    match reason.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program listens there, an Airlock perhaps: `ss -ltnp` shows which"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE: take a higher one"
        }
        _ => "",
    }
}

async fn bind(address: &str, port: u16) -> io::Result<TcpListener> {
    // Go's `net.Listen` takes "all IPv4 addresses" for all addresses, and so does Airlock.
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
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
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

/// Whether an error is a kernel's that was built, or told, to do without IPv6.
fn has_no_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
    )
}

/// Out of descriptors, most likely: says so and gives connections time to end.
async fn accept_failed(name: &str, error: &io::Error) {
    tracing::error!(listener = name, reason = %error, "cannot accept a connection");
    time::sleep(Duration::from_millis(100)).await;
}

/// Serves a connection to its end.
async fn serve(stream: TcpStream, peer: IpAddr, tls: Option<&ServerTls>, serving: &Serving) {
    // Answers are one small write; waiting for more to send only delays them.
    let _ = stream.set_nodelay(true);
    let result = match tls {
        None => connection::http1(stream, peer, serving).await,
        // Boxed, since it is large: a connection without TLS does not pay for it.
        Some(tls) => Box::pin(serve_tls(stream, peer, tls, serving)).await,
    };
    if let Err(error) = result {
        tracing::trace!(%peer, reason = %error, "connection ended");
    }
}

async fn serve_tls(
    stream: TcpStream,
    peer: IpAddr,
    tls: &ServerTls,
    serving: &Serving,
) -> connection::Result {
    let handshake = TlsAcceptor::from(tls.current()).accept(stream);
    let timeout = serving.limits().handshake_timeout;
    let result = tokio::select! {
        // Nothing is lost with it: no request has come yet.
        () = serving.shutdown.cancelled() => return Ok(()),
        result = time::timeout(timeout, handshake) => result,
    };
    let result = result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    match result {
        Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
            connection::http2(stream, peer, serving).await
        }
        Ok(stream) => connection::http1(stream, peer, serving).await,
        Err(reason) => {
            serving.rejected("tls_handshake");
            tracing::debug!(%peer, %reason, "no TLS with a client");
            Ok(())
        }
    }
}

/// One of a peer's connections, given back when it is dropped.
struct PeerPlace {
    peers: Peers,
    peer: IpAddr,
}

// === impl PeerPlace ===

impl PeerPlace {
    fn take(peers: &Peers, peer: IpAddr, most: usize) -> Option<Self> {
        let mut counts = peers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(counts);
        let peers = Arc::clone(peers);
        Some(PeerPlace { peers, peer })
    }
}

impl Drop for PeerPlace {
    fn drop(&mut self) {
        let mut counts = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}
