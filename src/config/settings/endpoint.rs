//! The endpoints of etcd.

use std::net::Ipv6Addr;

use http::uri::Authority;

use crate::config::diagnostic::quote;

/// The port of etcd in suggestions.
const ETCD_PORT: u16 = 2379;

/// Returns the endpoint as a URL. A bare `host:port` uses TLS, as in coreos/airlock.
///
/// # Errors
/// The message for the operator. It does not show a password that the text contains.
pub(super) fn parse(text: &str) -> Result<String, String> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None => ("https", text),
    };
    if rest.contains('@') {
        return Err(
            "the endpoint contains a user name or a password; remove them, and set etcd3.username and \
             etcd3.password_path"
                .into(),
        );
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if !matches!(scheme, "http" | "https") {
        return Err(format!(
            "endpoint {} has the unknown scheme {}; write http://host:port or https://host:port",
            quote(text),
            quote(scheme)
        ));
    }
    let valid = |authority: &str| {
        authority
            .parse::<Authority>()
            .is_ok_and(|parsed| parsed.port_u16().is_some() && !parsed.host().is_empty())
    };
    if valid(authority) {
        return Ok(format!("{scheme}://{authority}"));
    }
    let host = if authority.parse::<Ipv6Addr>().is_ok() {
        format!("[{authority}]")
    } else {
        authority.to_owned()
    };
    let with_port = format!("{host}:{ETCD_PORT}");
    let without_path = authority.split('/').next().unwrap_or_default();
    let problem = if valid(&with_port) {
        format!("has no port; write \"{scheme}://{with_port}\"")
    } else if valid(without_path) {
        format!("has a path; write \"{scheme}://{without_path}\"")
    } else {
        format!(
            "is not valid; write a host and a port, such as \"{scheme}://127.0.0.1:{ETCD_PORT}\""
        )
    };
    Err(format!("endpoint {} {problem}", quote(text)))
}
