//! The digest of what all servers of a fleet should have in common: the groups and their caps.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};

use super::{CapSettings, GateSettings, GateTarget, GroupSettings, SlotsMismatch};
use crate::lock::GroupName;

/// Returns the digest of the groups and caps, in 16 hexadecimal digits. Servers that grant locks by other rules have
/// another one. A rule that is not configured adds nothing, so that older servers without it have the same one.
pub(super) fn of_groups(
    groups: &BTreeMap<GroupName, GroupSettings>,
    caps: &[CapSettings],
    slots_mismatch: SlotsMismatch,
) -> String {
    let mut text = format!("{slots_mismatch:?}\n");
    // Writing to a string cannot fail.
    for (name, group) in groups {
        let _ = writeln!(text, "{name:?} {} {:?}", group.slots, group.users);
        for window in &group.windows.0 {
            let zone = window.zone.iana_name().unwrap_or("UTC");
            let (days, start, minutes) = (&window.days, window.start, window.minutes);
            let _ = writeln!(text, "{days:?} {start} {minutes} {zone}");
            if !window.weeks.is_empty() {
                let _ = writeln!(text, "weeks {:?}", window.weeks);
            }
        }
        if let Some(after) = group.stall_after {
            let _ = writeln!(text, "stall {after:#}");
        }
        if let Some(time) = group.settle {
            let _ = writeln!(text, "settle {time:#}");
        }
        for freeze in &group.freezes.0 {
            let _ = writeln!(
                text,
                "freeze {} {} {:?}",
                freeze.from, freeze.until, freeze.reason
            );
        }
        for gate in &group.gates {
            // Each server may have its own files, and reach the gate at its own address.
            let GateSettings {
                name,
                target,
                timeout: _,
                max_age,
                allows,
                open_after_successes,
                ca_cert_path: _,
                client_cert: _,
                credentials: _,
            } = &**gate;
            let question = match target {
                GateTarget::Http(_) => "",
                GateTarget::Prometheus { query, .. } => query,
            };
            let _ = writeln!(
                text,
                "{name} {question:?} {max_age:?} {allows} {open_after_successes}"
            );
        }
    }
    for cap in caps {
        let _ = writeln!(text, "{cap:?}");
    }
    let hash = digest(&SHA256, text.as_bytes());
    let bytes = &hash.as_ref()[..8];
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
