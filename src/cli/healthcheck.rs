//! `airlock healthcheck`: checks that the server on this machine replies, for the health check of a container.
//!
//! The check does not include the store, because a restart of the server does not repair etcd; `/readyz` includes it.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::time::Duration;

use super::error::{CliError, HealthcheckError};
use crate::config::{ListenSettings, Loaded};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Checks the server.
///
/// # Errors
/// If it is not healthy.
pub(super) fn run(loaded: Loaded, config: &Path) -> Result<(), CliError> {
    let settings = loaded.settings;
    let (section, listen) = match &settings.status {
        Some(status) => ("status", status),
        None => ("service", &settings.service),
    };
    // Only the status listener has /healthz. Without it, or if it requires TLS, a connection is enough.
    let has_healthz = settings
        .status
        .as_ref()
        .is_some_and(|listen| listen.tls.is_none());
    check(listen, has_healthz).map_err(|error| CliError::Unhealthy {
        address: format!("{} port {}", host(listen), listen.port),
        section,
        config: config.to_owned(),
        error,
    })
}

fn check(listen: &ListenSettings, has_healthz: bool) -> Result<(), HealthcheckError> {
    let mut last_error = HealthcheckError::NoAddress;
    let addresses = (host(listen), listen.port).to_socket_addrs();
    for address in addresses.map_err(HealthcheckError::Resolve)? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) if has_healthz => return request(stream),
            Ok(_) => return Ok(()),
            Err(error) => last_error = HealthcheckError::Connect(error),
        }
    }
    Err(last_error)
}

/// Requests `/healthz`.
fn request(mut stream: TcpStream) -> Result<(), HealthcheckError> {
    let mut exchange = || {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status)
    };
    match exchange().map_err(HealthcheckError::Reply)? {
        status if status == *b"HTTP/1.1 200" => Ok(()),
        status => Err(HealthcheckError::Status(
            String::from_utf8_lossy(&status).into_owned(),
        )),
    }
}

/// Returns the host at which the own machine reaches a listener.
fn host(listen: &ListenSettings) -> &str {
    match listen.address.as_str() {
        "" | "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        address => address,
    }
}
