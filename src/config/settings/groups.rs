//! `[lock]`: the reboot groups.

use std::collections::{BTreeMap, BTreeSet};

use super::windows;
use crate::config::document::{At, Notes};
use crate::config::file::LockSection;
use crate::policy::Windows;
use crate::store::{GroupName, etcd};

/// One reboot group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// At least 1.
    pub slots: u64,
    /// Who may lock and unlock; `None`: everybody who is let in.
    pub users: Option<BTreeSet<String>>,
    /// When new locks are granted.
    pub windows: Windows,
}

/// What happens where the store has other slots for a group than the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlotsMismatch {
    /// The store rules; warnings say so.
    #[default]
    Warn,
    /// The configuration is written to the store, at the start and on a reload.
    Update,
}

pub(super) fn slots_mismatch(notes: &mut Notes<'_>, value: Option<&At<String>>) -> SlotsMismatch {
    match value.map(|at| (at, at.value.as_str())) {
        None | Some((_, "warn")) => SlotsMismatch::Warn,
        Some((_, "update")) => SlotsMismatch::Update,
        Some((at, _)) => {
            notes.error(
                at,
                "must be \"warn\" (the store's slots rule) or \"update\" (the file's do)",
            );
            SlotsMismatch::Warn
        }
    }
}

/// `passwords` says whether users are told apart at all, `on_etcd` where the slots are kept.
pub(super) fn check(
    notes: &mut Notes<'_>,
    lock: LockSection,
    passwords: bool,
    on_etcd: bool,
) -> BTreeMap<GroupName, GroupSettings> {
    let mut groups = BTreeMap::new();
    let common_windows = windows::check(notes, lock.windows).unwrap_or_default();
    let default_slots = match &lock.default_slots {
        Some(slots) => checked_slots(notes, slots, on_etcd),
        None => 1,
    };
    let default_users = lock
        .default_users
        .as_ref()
        .map(|users| checked_users(notes, users, passwords));
    let default_name = match &lock.default_group_name {
        Some(name) => checked_name(notes, name),
        None => GroupName::new("default"),
    };
    for group in lock.groups {
        let users = match &group.value.users {
            Some(users) => Some(checked_users(notes, users, passwords)),
            None => default_users.clone(),
        };
        let slots = match &group.value.slots {
            Some(slots) => checked_slots(notes, slots, on_etcd),
            None => default_slots,
        };
        let Some(name) = &group.value.name else {
            notes.error(&group, "a group without a name; add name = \"…\"");
            continue;
        };
        let Some(checked) = checked_name(notes, name) else {
            continue;
        };
        let is_default = Some(&checked) == default_name.as_ref();
        let own_windows = windows::check(notes, group.value.windows);
        // Airlock ignores an entry for the default group. For what only ours has it is the place.
        if is_default && let Some(slots) = &group.value.slots {
            notes.warning(
                slots,
                format!(
                    "{:?} is the default group: lock.default_slots rules it, this is not used",
                    name.value
                ),
            );
        }
        let settings = GroupSettings {
            slots: if is_default { default_slots } else { slots },
            users,
            windows: own_windows.unwrap_or_else(|| common_windows.clone()),
        };
        if groups.insert(checked, settings).is_some() {
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
        groups.entry(name).or_insert(GroupSettings {
            slots: default_slots,
            users: default_users,
            windows: common_windows,
        });
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

/// The users of a group. Whether there are such users is for the htpasswd file to say, which may change.
fn checked_users(
    notes: &mut Notes<'_>,
    users: &At<Vec<String>>,
    passwords: bool,
) -> BTreeSet<String> {
    if !passwords {
        notes.error(
            users,
            "users are told apart by their passwords; set service.htpasswd_path too, or remove this key",
        );
    }
    if users.value.is_empty() {
        notes.error(
            users,
            "is empty, so nobody could lock; name a user, or remove this key to allow all users",
        );
    }
    for user in &users.value {
        if user.is_empty() || user.contains(':') || user.contains(char::is_control) {
            notes.error(
                users,
                format!(
                    "{user:?} is no user's name; htpasswd has none that is empty or has ':' in it"
                ),
            );
        }
    }
    users.value.iter().cloned().collect()
}

fn checked_slots(notes: &mut Notes<'_>, slots: &At<u64>, on_etcd: bool) -> u64 {
    if on_etcd && let Some(reason) = etcd::too_many_slots(slots.value) {
        notes.error(slots, reason);
    }
    if slots.value == 0 {
        notes.error(
            slots,
            "must be at least 1: with 0 no node of the group could ever reboot",
        );
    }
    slots.value
}
