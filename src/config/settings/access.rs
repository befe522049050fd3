//! `[service]` and `[status]`: which addresses, paths and hosts requests are accepted for.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::diagnostic::{Diagnostics, Located, quote};
use crate::config::field::Field;

/// Returns the networks of `trusted_proxies`; an address is a network of one.
pub(super) fn trusted_proxies(
    diagnostics: &mut Diagnostics,
    field: Field<Vec<Located<String>>>,
) -> Vec<IpNet> {
    let Some(networks) = field.present() else {
        return Vec::new();
    };
    let mut trusted = Vec::new();
    for network in networks.value {
        let parsed = network.value.parse::<IpNet>().ok();
        match parsed.or_else(|| network.value.parse::<IpAddr>().map(IpNet::from).ok()) {
            Some(parsed) => trusted.push(parsed),
            None => {
                let text = format!(
                    "expected an IP address or a network such as \"192.0.2.0/24\", found {}",
                    quote(&network.value)
                );
                diagnostics.error(&network, text);
            }
        }
    }
    trusted
}

/// Returns the prefix without a slash at its end; `None` if there is none.
pub(super) fn path_prefix(diagnostics: &mut Diagnostics, field: Field<String>) -> Option<String> {
    let found = field.present()?;
    let prefix = found.value.trim_end_matches('/');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
    let has_empty_segment = prefix.contains("//");
    if !found.value.starts_with('/') || has_empty_segment || !prefix.chars().all(is_plain) {
        let text = format!(
            "expected a path such as \"/fleetlock\", of letters, digits and \"-._~/\", found {}",
            quote(&found.value)
        );
        diagnostics.error(&found, text);
    }
    (!prefix.is_empty()).then(|| prefix.to_owned())
}

/// Returns the host names in lower case, without a final dot; `None`: all are allowed.
pub(super) fn allowed_hosts(
    diagnostics: &mut Diagnostics,
    field: &Field<Vec<Located<String>>>,
) -> Option<Vec<String>> {
    let hosts = &field.as_present()?.value;
    let mut allowed = Vec::new();
    for host in hosts {
        let name = host.value.strip_suffix('.').unwrap_or(&host.value);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if name.is_empty() || !name.chars().all(is_plain) {
            let text = format!(
                "expected a host name without a port, found {}; IP addresses and \"localhost\" are always allowed",
                quote(&host.value)
            );
            diagnostics.error(host, text);
        }
        allowed.push(name.to_ascii_lowercase());
    }
    Some(allowed)
}
