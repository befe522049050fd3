//! The digest of what all servers of a fleet should have in common: the groups.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};

use super::{GroupSettings, SlotsMismatch};
use crate::lock::GroupName;

/// Returns the digest of the groups, in 16 hexadecimal digits. Servers that grant locks by other rules have another one.
pub(super) fn of_groups(
    groups: &BTreeMap<GroupName, GroupSettings>,
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
        }
    }
    let hash = digest(&SHA256, text.as_bytes());
    let bytes = &hash.as_ref()[..8];
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
