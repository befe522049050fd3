//! `[lock]`: the reboot groups.

use std::collections::BTreeMap;

use crate::config::document::{At, Notes};
use crate::config::file::LockSection;
use crate::store::GroupName;

/// One reboot group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// At least 1.
    pub slots: u64,
}

pub(super) fn check(
    notes: &mut Notes<'_>,
    lock: LockSection,
) -> BTreeMap<GroupName, GroupSettings> {
    let mut groups = BTreeMap::new();
    let default_slots = match &lock.default_slots {
        Some(slots) => checked_slots(notes, slots),
        None => 1,
    };
    let default_name = match &lock.default_group_name {
        Some(name) => checked_name(notes, name),
        None => GroupName::new("default"),
    };
    for group in lock.groups {
        let slots = match &group.value.slots {
            Some(slots) => checked_slots(notes, slots),
            None => default_slots,
        };
        let Some(name) = &group.value.name else {
            notes.error(&group, "a group without a name; add name = \"…\"");
            continue;
        };
        let Some(checked) = checked_name(notes, name) else {
            continue;
        };
        if Some(&checked) == default_name.as_ref() {
            notes.warning(
                name,
                format!(
                    "{checked:?} is the default group: lock.default_slots rules it, this entry is not used",
                    checked = checked.as_str()
                ),
            );
        } else if groups.insert(checked, GroupSettings { slots }).is_some() {
            notes.error(
                name,
                format!(
                    "{:?} is configured twice; remove one of the two",
                    name.value
                ),
            );
        }
    }
    if let Some(name) = default_name {
        let slots = default_slots;
        groups.insert(name, GroupSettings { slots });
    }
    groups
}

fn checked_name(notes: &mut Notes<'_>, name: &At<String>) -> Option<GroupName> {
    let group = GroupName::new(&name.value);
    match &group {
        None => notes.error(name, "is empty; a group needs a name"),
        Some(_) if name.value.len() > 253 || name.value.contains(char::is_control) => {
            notes.error(
                name,
                "must have at most 253 bytes and no control characters",
            );
        }
        Some(_) => {
            // Source: Zincati, src/identity: a group that does not match is refused by the node.
            let zincatis = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
            if !name.value.chars().all(zincatis) {
                notes.warning(
                    name,
                    "Zincati accepts only letters, digits, '.' and '-' in a group's name: its nodes cannot join this group",
                );
            }
        }
    }
    group
}

fn checked_slots(notes: &mut Notes<'_>, slots: &At<u64>) -> u64 {
    if slots.value == 0 {
        notes.error(
            slots,
            "must be at least 1: with 0 no node of the group could ever reboot",
        );
    }
    slots.value
}
