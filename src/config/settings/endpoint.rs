//! The endpoints of etcd.

use std::net::Ipv6Addr;

use http::uri::Authority;

use crate::config::diagnostic::quote;

/// The port of etcd in suggestions.
const ETCD_PORT: u16 = 2379;

/// The reason why a text is no endpoint. The message never shows a password that the text contains.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EndpointError {
    #[error(
        "endpoint {} contains a user name or a password; remove them, and set etcd3.username and etcd3.password_path",
        quote(.found)
    )]
    Credentials { found: String },
    #[error(
        "endpoint {} has the unknown scheme {}; write http://host:port or https://host:port", quote(.found),
        quote(.scheme)
    )]
    UnknownScheme { found: String, scheme: String },
    #[error("endpoint {} has no port; write \"{meant}\"", quote(.found))]
    NoPort { found: String, meant: String },
    #[error("endpoint {} has a path; write \"{meant}\"", quote(.found))]
    HasPath { found: String, meant: String },
    #[error(
        "endpoint {} is not valid; write a host and a port up to 65535, such as \"{scheme}://127.0.0.1:{ETCD_PORT}\"",
        quote(.found)
    )]
    Invalid { found: String, scheme: String },
}

/// Returns the endpoint as a URL. A bare `host:port` uses TLS, as in coreos/airlock.
pub(super) fn parse(text: &str) -> Result<String, EndpointError> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
    if rest.contains('@') {
        let found = text.to_owned();
        return Err(EndpointError::Credentials { found });
    }
    let (found, scheme) = (text.to_owned(), scheme.to_owned());
    if !matches!(&*scheme, "http" | "https") {
        return Err(EndpointError::UnknownScheme { found, scheme });
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if is_host_and_port(authority) {
        return Ok(format!("{scheme}://{authority}"));
    }
    let host = if authority.parse::<Ipv6Addr>().is_ok() {
        format!("[{authority}]")
    } else {
        authority.to_owned()
    };
    let with_port = format!("{host}:{ETCD_PORT}");
    let without_path = authority.split('/').next().unwrap_or_default();
    let meant = |authority: &str| format!("{scheme}://{authority}");
    Err(if is_host_and_port(&with_port) {
        let meant = meant(&with_port);
        EndpointError::NoPort { found, meant }
    } else if is_host_and_port(without_path) {
        let meant = meant(without_path);
        EndpointError::HasPath { found, meant }
    } else {
        EndpointError::Invalid { found, scheme }
    })
}

fn is_host_and_port(text: &str) -> bool {
    let authority = text.parse::<Authority>();
    authority.is_ok_and(|parsed| parsed.port_u16().is_some() && !parsed.host().is_empty())
}
