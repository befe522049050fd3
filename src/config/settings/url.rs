//! The URLs of other servers, to which this one sends requests.

use std::net::IpAddr;

use http::Uri;
use http::uri::Authority;

use crate::config::diagnostic::quote;
use crate::text::escape::redacted;

/// The reason why a text is not the URL of a server. The message shows neither a password nor a path, which may contain
/// a token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UrlError {
    #[error("URL {} contains a user name or a password, {remedy}", shown(.found))]
    Credentials {
        found: String,
        /// What to do with them.
        remedy: &'static str,
    },
    #[error("URL {} has neither http:// nor https:// in front of its host; write https://host/path", shown(.0))]
    Scheme(String),
    #[error(
        "URL {} is not valid; write https://host/path in ASCII characters, with a port up to 65535 behind the host if \
         it is not 443",
        shown(.0)
    )]
    Invalid(String),
}

/// Returns a URL with `http` or `https` and a host. `remedy` continues the error about a user or a password in it.
pub(crate) fn parse(text: &str, remedy: &'static str) -> Result<Uri, UrlError> {
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| UrlError::Scheme(text.to_owned()))?;
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err(UrlError::Scheme(text.to_owned()));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if rest[..end].contains('@') {
        let found = text.to_owned();
        return Err(UrlError::Credentials { found, remedy });
    }
    let url = text.parse::<Uri>().ok();
    url.filter(|url| url.authority().is_some_and(is_valid))
        .ok_or_else(|| UrlError::Invalid(text.to_owned()))
}

/// Reports whether there is a host, and no port or a valid one.
fn is_valid(authority: &Authority) -> bool {
    let (host, port) = (authority.host(), authority.port_u16());
    !host.is_empty() && (port.is_some_and(|port| port > 0) || authority.as_str() == host)
}

/// Reports whether requests to the URL are sent in plain text.
pub(super) fn is_plain(url: &Uri) -> bool {
    url.scheme_str() == Some("http")
}

/// Reports whether others on the network can read the requests to the URL.
pub(crate) fn is_exposed(url: &Uri) -> bool {
    is_plain(url) && !url.host().is_some_and(is_loopback)
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Quotes a URL for a message, without its password and its path.
pub(crate) fn shown(url: &str) -> String {
    let url = redacted(url);
    let host = url.find("://").map_or(0, |end| end + "://".len());
    match url[host..].find(['/', '?', '#']) {
        Some(end) => quote(&format!("{}/…", &url[..host + end])),
        None => quote(&url),
    }
}

/// Returns a URL for messages: without its path, which may contain a token.
pub(super) fn without_path(url: &Uri) -> String {
    let scheme = url.scheme_str().unwrap_or_default();
    let authority = url.authority().map_or("", Authority::as_str);
    let has_path = url.path_and_query().is_some_and(|path| path != "/");
    format!("{scheme}://{authority}{}", if has_path { "/…" } else { "" })
}
