//! The address of a listener: its resolution, and the socket that is bound to it.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};

use crate::config::ListenSettings;
use crate::text::explain::Remedy;

/// The number of connections that the kernel queues until they are accepted.
const BACKLOG: u32 = 4096;

/// The reason why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    /// The address is a host name without an IP address.
    #[error("cannot resolve the address {address:?}")]
    Resolve {
        /// The section of the configuration.
        section: &'static str,
        address: String,
        source: io::Error,
    },
    /// The kernel refuses the address.
    #[error("cannot listen on {address}")]
    Listen {
        /// The section of the configuration.
        section: &'static str,
        address: SocketAddr,
        source: io::Error,
    },
}

/// Listens on the address as Go does: of the addresses of a host name, the first IPv4 address is taken.
///
/// # Errors
/// If the name has no address, or the address cannot be bound.
pub(super) async fn listen(
    section: &'static str,
    settings: &ListenSettings,
) -> Result<TcpListener, BindError> {
    open(section, settings, |address| bound(address)?.listen(BACKLOG)).await
}

/// Checks whether this process could listen on the address.
///
/// # Errors
/// The same as those of [`listen`], except that a port may be in use: the server itself may use it.
pub(crate) async fn check_address(
    section: &'static str,
    settings: &ListenSettings,
) -> Result<(), BindError> {
    let bind = |address| match bound(address) {
        Err(error) if error.kind() != ErrorKind::AddrInUse => Err(error),
        _ => Ok(()),
    };
    open(section, settings, bind).await
}

/// Resolves the address and opens it.
async fn open<T>(
    section: &'static str,
    settings: &ListenSettings,
    try_open: impl Fn(SocketAddr) -> io::Result<T>,
) -> Result<T, BindError> {
    let port = settings.port;
    let failed = |address| {
        move |source| BindError::Listen {
            section,
            address,
            source,
        }
    };
    // Go's `net.Listen` takes "all IPv4 addresses" for all addresses, and so does coreos/airlock.
    if matches!(&*settings.address, "" | "0.0.0.0" | "::") {
        let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        return match try_open(everywhere) {
            Err(error) if has_no_ipv6(&error) => {
                let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
                try_open(everywhere).map_err(failed(everywhere))
            }
            result => result.map_err(failed(everywhere)),
        };
    }
    let address = resolve(&settings.address, port)
        .await
        .map_err(|source| BindError::Resolve {
            section,
            address: settings.address.clone(),
            source,
        })?;
    try_open(address).map_err(failed(address))
}

async fn resolve(address: &str, port: u16) -> io::Result<SocketAddr> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((address, port)).await?.collect();
    let ipv4 = addresses.iter().find(|address| address.is_ipv4());
    let address = ipv4.or(addresses.first()).copied();
    address.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "the host name has no address"))
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
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
    Ok(socket)
}

/// Reports whether an error comes from a kernel that was built or configured without IPv6.
fn has_no_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
    )
}

// === impl BindError ===

impl BindError {
    /// Returns the key of the configuration that the error is about.
    pub(crate) fn key(&self) -> String {
        match self {
            BindError::Listen {
                section, source, ..
            } if source.kind() != ErrorKind::AddrNotAvailable => format!("{section}.port"),
            BindError::Listen { section, .. } | BindError::Resolve { section, .. } => {
                format!("{section}.address")
            }
        }
    }
}

impl Remedy for BindError {
    fn remedy(&self) -> Option<String> {
        let BindError::Listen { source, .. } = self else {
            return Some(
                "write an IP address of this machine, or \"0.0.0.0\" for all of them".into(),
            );
        };
        let text = match source.kind() {
            ErrorKind::AddrInUse => {
                "another program listens there, possibly another Airlock: `ss -ltnp` shows which one"
            }
            ErrorKind::AddrNotAvailable => {
                "this machine does not have that address: `ip address` lists those that it has"
            }
            ErrorKind::PermissionDenied => {
                "ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher port"
            }
            _ => return None,
        };
        Some(text.into())
    }
}
