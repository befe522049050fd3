//! The address of the client of a request that a proxy forwarded.

use std::net::{IpAddr, SocketAddr};

use http::header::{self, AsHeaderName, HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Reports whether a connection comes from a trusted proxy.
pub(super) fn is_trusted(trusted: &[IpNet], address: IpAddr) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// Returns the address of the client. Only trusted proxies are believed, so that a client cannot choose its address:
/// it is the last one of the chain that is not a trusted proxy, or the first one that a proxy does not know.
///
/// A proxy sets `Forwarded` (RFC 7239) or `X-Forwarded-For`, and may pass the other one on as the client sent it. If a
/// request has both and they differ, the client is not known: its address is that of the proxy.
pub(crate) fn client(trusted: &[IpNet], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    if !is_trusted(trusted, peer) {
        return peer;
    }
    let forwarded = chain(headers, header::FORWARDED, |value| {
        split(value, ',').map(forwarded_for).collect()
    });
    let x_forwarded_for = chain(headers, X_FORWARDED_FOR, |value| {
        value.split(',').map(address).collect()
    });
    let last_untrusted = |chain: Vec<Option<IpAddr>>| {
        let mut client = peer;
        for address in chain.into_iter().rev() {
            let Some(address) = address else { break };
            client = address;
            if !is_trusted(trusted, client) {
                break;
            }
        }
        client
    };
    match (forwarded, x_forwarded_for) {
        (None, None) => peer,
        (Some(chain), None) | (None, Some(chain)) => last_untrusted(chain),
        (Some(one), Some(other)) => {
            let (one, other) = (last_untrusted(one), last_untrusted(other));
            if one == other { one } else { peer }
        }
    }
}

/// Returns the addresses in a header, from the client to the last proxy; `None` if there is no such header.
fn chain(
    headers: &HeaderMap,
    name: impl AsHeaderName,
    addresses: impl Fn(&str) -> Vec<Option<IpAddr>>,
) -> Option<Vec<Option<IpAddr>>> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    // A value that is not text has an element that is not an address.
    let chain = values.flat_map(|value| addresses(value.to_str().unwrap_or_default()));
    Some(chain.collect())
}

/// Splits a text at the separators that are not part of a quoted string, in which a client may have any text.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_outside = outside_of_quotes();
    text.split(move |c| is_outside(c) && c == separator)
}

/// Returns a function that reports for each character of a text in turn whether no quoted string goes on behind it.
///
/// Source: RFC 9110, section 5.6.4.
fn outside_of_quotes() -> impl FnMut(char) -> bool {
    let (mut is_quoted, mut is_escaped) = (false, false);
    move |c| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match c {
            '\\' if is_quoted => is_escaped = !was_escaped,
            '"' if !was_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        !is_quoted
    }
}

/// Returns the address of the parameter `for` of an element of `Forwarded`, unless it occurs more than once. A client
/// that opens a quoted string and does not close it makes what a proxy appends a part of its own element.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let ends_outside = element.chars().map(outside_of_quotes());
    if !ends_outside.fold(true, |_, is_outside| is_outside) {
        return None;
    }
    let parameters = split(element, ';').filter_map(|pair| pair.split_once('='));
    let mut nodes = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    let ((_, node), None) = (nodes.next()?, nodes.next()) else {
        return None;
    };
    address(node.trim().trim_matches('"'))
}

/// Parses an address, with or without a port, and with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = text
        .parse()
        .or_else(|_| text.parse().map(|address: SocketAddr| address.ip()))
        .ok()
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing;
    use proptest::prelude::*;

    /// Returns the client of a request from 10.0.0.1, which is trusted together with 10.0.0.2.
    fn client_of(headers: &[(&'static str, &str)]) -> String {
        client_from("10.0.0.1", headers)
    }

    fn client_from(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let trusted = ["10.0.0.0/30".parse().unwrap()];
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        client(&trusted, peer.parse().unwrap(), &map).to_string()
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_a_trusted_proxy() {
        for (value, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.9, 192.0.2.1", "192.0.2.1"),
            ("192.0.2.9, 192.0.2.1 ,10.0.0.2", "192.0.2.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("10.0.0.2", "10.0.0.2"),
            // A proxy that does not know the address ends the chain.
            ("192.0.2.9, unknown", "10.0.0.1"),
            ("\", 192.0.2.1", "192.0.2.1"),
            ("192.0.2.9, unknown, 10.0.0.2", "10.0.0.2"),
            ("", "10.0.0.1"),
        ] {
            assert_eq!(
                client_of(&[("x-forwarded-for", value)]),
                expected,
                "{value}"
            );
        }
        let two = [
            ("x-forwarded-for", "192.0.2.9"),
            ("x-forwarded-for", "192.0.2.1"),
        ];
        assert_eq!(client_of(&two), "192.0.2.1");
        assert_eq!(client_of(&[]), "10.0.0.1");
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_defines_it() {
        for (value, expected) in [
            ("for=192.0.2.1", "192.0.2.1"),
            (
                "For=\"[2001:db8::1]:4711\";proto=https;by=10.0.0.1",
                "2001:db8::1",
            ),
            ("for=192.0.2.9, proto=http; for=192.0.2.1", "192.0.2.1"),
            ("for=192.0.2.9, for=_hidden", "10.0.0.1"),
            ("for=192.0.2.9, proto=http", "10.0.0.1"),
            // The proxy repeats what the client sent as its host.
            ("host=\"a,for=192.0.2.9\";for=192.0.2.1", "192.0.2.1"),
            ("host=\"a;for=192.0.2.9\";for=192.0.2.1", "192.0.2.1"),
            ("host=\"\\\";for=192.0.2.9\";for=192.0.2.1", "192.0.2.1"),
            ("for=192.0.2.9;for=192.0.2.1", "10.0.0.1"),
            // The proxy appends to a quoted string that the client has not closed.
            ("for=192.0.2.9;host=\", for=192.0.2.1", "10.0.0.1"),
        ] {
            assert_eq!(client_of(&[("forwarded", value)]), expected, "{value}");
        }
    }

    #[test]
    fn no_other_client_is_trusted_and_contradictions_name_no_client() {
        let header = [("x-forwarded-for", "192.0.2.1")];
        assert_eq!(client_from("10.0.0.4", &header), "10.0.0.4");
        let same = [
            ("x-forwarded-for", "192.0.2.1"),
            ("forwarded", "for=192.0.2.1"),
        ];
        assert_eq!(client_of(&same), "192.0.2.1");
        let different = [
            ("x-forwarded-for", "192.0.2.1"),
            ("forwarded", "for=192.0.2.2"),
        ];
        assert_eq!(client_of(&different), "10.0.0.1");
    }

    proptest! {
        #[test]
        fn a_node_chooses_its_address_with_no_header(value in "(for=|\\\\|\\[|\\]|\"|[0-9a-f:.,; ])*|.*") {
            for name in ["Forwarded", "X-Forwarded-For"] {
                fuzzing::forwarded(format!("{name}: {value}").as_bytes());
            }
        }
    }
}
