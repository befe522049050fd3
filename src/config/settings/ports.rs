//! The ports of the two listeners, which must differ if their addresses overlap.

use std::net::{IpAddr, Ipv4Addr};

use super::ListenSettings;
use crate::config::diagnostic::{Diagnostics, Located};

/// Reports listeners that cannot both be bound. `status` is located at its port.
pub(super) fn check(
    diagnostics: &mut Diagnostics,
    service: &ListenSettings,
    status: &Located<ListenSettings>,
) {
    let port = service.port;
    // Port 0 stands for any free port.
    if port == 0 || port != status.value.port || !overlap(&service.address, &status.value.address) {
        return;
    }
    let free = if port == 2222 { 2223 } else { 2222 };
    let text = format!(
        "[service] and [status] both listen on port {port}; set a different port in [status], such as port = {free}"
    );
    diagnostics.error(status, text);
}

/// Reports whether two addresses are certain to overlap. Host names are not looked up, so two different ones are not.
fn overlap(one: &str, other: &str) -> bool {
    let is_wildcard = |address: &str| matches!(address, "" | "0.0.0.0" | "::");
    is_wildcard(one) || is_wildcard(other) || same(one, other)
}

fn same(one: &str, other: &str) -> bool {
    match (ip(one), ip(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one.eq_ignore_ascii_case(other),
        _ => false,
    }
}

fn ip(address: &str) -> Option<IpAddr> {
    if address.eq_ignore_ascii_case("localhost") {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    address.parse().ok()
}
