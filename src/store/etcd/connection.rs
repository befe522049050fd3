//! A channel to one endpoint that makes a single connection.
//!
//! tonic replaces a lost connection without a word. Behind the address there may be another cluster by then, to which a
//! write must not be sent (invariant 11). Here, a lost connection ends the channel; the endpoint makes a new one and
//! verifies the cluster first.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_client::{Channel, Error, TlsOptions};
use hyper_util::client::legacy::connect::HttpConnector;
use tonic::transport::Endpoint;
use tower::{BoxError, ServiceExt as _, service_fn};

/// The interval of pings on a connection with open streams.
///
/// etcd closes connections that are pinged more often than every 5 s (`--grpc-keepalive-min-time`), or at all while no
/// stream is open.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(6);

/// The time after which a ping without a reply counts as lost.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The interval of TCP's own keep-alive probes.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Creates a channel to the endpoint `url`, which connects at the first call.
///
/// # Errors
/// If the URL or the TLS options are invalid.
pub(super) fn channel(
    url: &str,
    tls: Option<TlsOptions>,
    connect_timeout: Duration,
) -> Result<Channel, Error> {
    let mut endpoint = Endpoint::from_shared(url.to_owned())?
        .connect_timeout(connect_timeout)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(false);
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls)?;
    }
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(TCP_KEEP_ALIVE));
    http.set_connect_timeout(Some(connect_timeout));
    let used = Arc::new(AtomicBool::new(false));
    let connector = service_fn(move |uri| {
        let (http, used) = (http.clone(), Arc::clone(&used));
        async move {
            if used.swap(true, Ordering::Relaxed) {
                let lost = "the connection to etcd was lost";
                return Err(BoxError::from(io::Error::new(
                    io::ErrorKind::NotConnected,
                    lost,
                )));
            }
            http.oneshot(uri).await.map_err(BoxError::from)
        }
    });
    let channel = endpoint.connect_with_connector_lazy(connector);
    Ok(Channel::Tonic(channel))
}
