//! The hosts that requests to the status listener may be for.
//!
//! A page of another site can have its name resolved to the address of this server (DNS rebinding), and then read the
//! responses as its own. Its requests carry that name.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};

use crate::text::escape::quoted;

/// The maximum number of characters of a host in the response.
const MAX_SHOWN: usize = 253;

/// Middleware that refuses requests for hosts that are not among `allowed`, which are in lower case and without a final
/// dot.
pub(super) async fn check(
    State(allowed): State<Arc<[String]>>,
    request: Request,
    next: Next,
) -> Response {
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    let host = request.headers().get(header::HOST);
    let host = authority
        .or_else(|| host?.to_str().ok())
        .unwrap_or_default();
    if is_allowed(&allowed, host) {
        return next.run(request).await;
    }
    let end = host
        .char_indices()
        .nth(MAX_SHOWN)
        .map_or(host.len(), |(end, _)| end);
    let host = quoted(&host[..end]);
    let text = format!("the host {host} is not in status.allowed_hosts\n");
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

/// Reports whether requests may be for the host, which may have a port. No other site can have the address of a server,
/// or `localhost`, as its name.
fn is_allowed(allowed: &[String], host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name.parse::<IpAddr>().is_ok() || name == "localhost" || allowed.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_hosts_addresses_and_localhost_are_allowed_with_and_without_a_port() {
        let allowed = ["airlock.example".to_owned()];
        for host in [
            "airlock.example",
            "Airlock.Example.:2222",
            "192.0.2.1:2222",
            "[2001:db8::1]:2222",
            "[::1]",
            "localhost:2222",
        ] {
            assert!(is_allowed(&allowed, host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "airlock.example.evil.example",
            "1.2.3.4.evil.example",
        ] {
            assert!(!is_allowed(&allowed, host), "{host}");
        }
    }
}
