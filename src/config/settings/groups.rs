//! `[lock]`: the reboot groups.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;

use super::gate::GateSettings;
use super::gates::Catalog;
use super::{StoreSettings, freezes, windows};
use crate::config::diagnostic::{Diagnostics, Located, quote};
use crate::config::field::Field;
use crate::config::schema::{GroupSection, LockSection};
use crate::lock::window::{Calendar, Freezes, Windows};
use crate::lock::{GroupName, code_point, is_control_or_format};

/// The settings of a reboot group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(Default))]
pub(crate) struct GroupSettings {
    /// The number of slots, at least 1.
    pub(crate) slots: u64,
    /// The users that may lock and unlock; `None`: all clients may.
    pub(crate) users: Option<BTreeSet<String>>,
    /// The time after which a holder stops new locks; `None`: no holder does.
    pub(crate) stall_after: Option<SignedDuration>,
    /// The time from a release to the next new lock; `None`: no time.
    pub(crate) settle: Option<SignedDuration>,
    /// The times at which new locks are granted.
    pub(crate) windows: Windows,
    /// The times at which no new locks are granted, not even in a window.
    pub(crate) freezes: Freezes,
    /// The gates that have to be open for a new lock.
    pub(crate) gates: Vec<Arc<GateSettings>>,
}

/// The reaction of the server to other slots in the store than in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SlotsMismatch {
    /// The slots in the store take precedence, and the server logs a warning.
    #[default]
    Warn,
    /// The server writes the configured slots to the store, at the start and on a reload.
    Update,
}

/// The parts of other sections that determine how groups are checked.
pub(super) struct Context<'a> {
    /// Whether clients have passwords, which tell users apart.
    pub(super) has_passwords: bool,
    /// The store, if there is exactly one.
    pub(super) store: Option<&'a StoreSettings>,
}

/// The settings of groups that have none of their own.
struct Defaults {
    /// The name of the default group; `None` if it is invalid.
    name: Option<GroupName>,
    settings: GroupSettings,
}

// === impl GroupSettings ===

impl GroupSettings {
    /// Returns the times at which new locks are granted: the windows without the freezes.
    pub(crate) fn calendar(&self) -> Calendar<'_> {
        Calendar {
            windows: &self.windows,
            freezes: &self.freezes,
        }
    }

    /// Removes the policies.
    pub(super) fn forget_policies(&mut self) {
        (self.stall_after, self.settle) = (None, None);
        self.windows = Windows::default();
        self.freezes = Freezes::default();
        self.gates.clear();
    }
}

pub(super) fn slots_mismatch(
    diagnostics: &mut Diagnostics,
    field: &Field<String>,
) -> SlotsMismatch {
    let Some(found) = field.as_present() else {
        return SlotsMismatch::Warn;
    };
    match found.value.as_str() {
        "warn" => SlotsMismatch::Warn,
        "update" => SlotsMismatch::Update,
        other => {
            let text = format!(
                "unknown value {}; write \"warn\" (the slots in the store take precedence) or \"update\" (the server \
                 writes the slots of this file to the store)",
                quote(other)
            );
            diagnostics.error(found, text);
            SlotsMismatch::Warn
        }
    }
}

/// Returns the settings of all groups, among them the default group, and adds their gates to the catalog.
pub(super) fn check(
    diagnostics: &mut Diagnostics,
    lock: LockSection,
    context: &Context<'_>,
    catalog: &mut Catalog,
) -> BTreeMap<GroupName, GroupSettings> {
    let defaults = Defaults {
        name: match &lock.default_group_name {
            Field::Absent => GroupName::new("default"),
            Field::Invalid => None,
            Field::Present(name) => checked_name(diagnostics, name),
        },
        settings: GroupSettings {
            slots: checked_slots(diagnostics, &lock.default_slots, context).unwrap_or(1),
            users: checked_users(diagnostics, &lock.default_users, context),
            stall_after: minutes(&lock.stall_after_minutes).flatten(),
            settle: minutes(&lock.settle_minutes).flatten(),
            windows: windows::check(diagnostics, lock.windows).unwrap_or_default(),
            freezes: freezes::check(diagnostics, lock.freezes).unwrap_or_default(),
            gates: catalog.check(diagnostics, lock.gates).unwrap_or_default(),
        },
    };
    let mut groups = BTreeMap::new();
    let mut first_lines: BTreeMap<GroupName, Option<usize>> = BTreeMap::new();
    for section in lock.groups.value_or_default() {
        let Some((name, settings)) = group(diagnostics, section, &defaults, context, catalog)
        else {
            continue;
        };
        match first_lines.entry(name.value.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(name.line);
                groups.insert(name.value, settings);
            }
            Entry::Occupied(first) => {
                let text = format!(
                    "group {} is configured twice, first on line {}; merge the two [[lock.groups]] tables",
                    quote(name.value.as_str()),
                    first.get().unwrap_or_default()
                );
                diagnostics.error(&name, text);
            }
        }
    }
    if let Some(name) = defaults.name {
        groups.entry(name).or_insert(defaults.settings);
    }
    groups
}

/// Returns the name and the settings of one `[[lock.groups]]` table; `None` if it has no valid name.
fn group(
    diagnostics: &mut Diagnostics,
    section: Located<GroupSection>,
    defaults: &Defaults,
    context: &Context<'_>,
    catalog: &mut Catalog,
) -> Option<(Located<GroupName>, GroupSettings)> {
    let missing_name = section.missing("name");
    let section = section.value;
    let slots = checked_slots(diagnostics, &section.slots, context);
    let users = checked_users(diagnostics, &section.users, context);
    let windows = windows::check(diagnostics, section.windows);
    let freezes = freezes::check(diagnostics, section.freezes);
    let gates = catalog.check(diagnostics, section.gates);
    if section.name.is_absent() {
        diagnostics.error(&missing_name, "the group has no name; add name = \"…\"");
    }
    let name = section.name.present()?;
    let name = name.with(checked_name(diagnostics, &name)?);
    let default = &defaults.settings;
    let mut settings = GroupSettings {
        slots: slots.unwrap_or(default.slots),
        users: users.or_else(|| default.users.clone()),
        stall_after: minutes(&section.stall_after_minutes).unwrap_or(default.stall_after),
        settle: minutes(&section.settle_minutes).unwrap_or(default.settle),
        windows: windows.unwrap_or_else(|| default.windows.clone()),
        freezes: freezes.unwrap_or_else(|| default.freezes.clone()),
        gates: gates.unwrap_or_else(|| default.gates.clone()),
    };
    // coreos/airlock ignores an entry for the default group. Here, only its slots are ignored.
    if Some(&name.value) == defaults.name.as_ref() {
        settings.slots = default.slots;
        if let Some(slots) = section.slots.as_present() {
            let text = format!(
                "the slots of {} are ignored because it is the default group; set lock.default_slots instead",
                quote(name.value.as_str())
            );
            diagnostics.warning(slots, text);
        }
    }
    Some((name, settings))
}

fn checked_name(diagnostics: &mut Diagnostics, name: &Located<String>) -> Option<GroupName> {
    let text = name.value.as_str();
    let Some(group) = GroupName::new(text) else {
        diagnostics.error(name, "the name is empty; a group needs a name");
        return None;
    };
    let quoted = quote(text);
    // Source: Zincati, src/identity: a node rejects a group that does not match.
    let zincati_accepts = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    if text.len() > GroupName::MAX_BYTES {
        let length = text.len();
        let text = format!(
            "group name {quoted} has {length} bytes; shorten it to {} or fewer",
            GroupName::MAX_BYTES
        );
        diagnostics.error(name, text);
    } else if let Some(found) = text.chars().find(|c| is_control_or_format(*c)) {
        let found = code_point(found);
        let text = format!(
            "group name {quoted} contains the control or format character {found}; remove it"
        );
        diagnostics.error(name, text);
    } else if !text.chars().all(zincati_accepts) {
        let text = format!(
            "nodes with Zincati cannot use the group name {quoted}; use only letters, digits, '.' and '-'"
        );
        diagnostics.warning(name, text);
    }
    Some(group)
}

/// Returns the users of a group. Whether they exist is checked against the htpasswd file, which may change.
fn checked_users(
    diagnostics: &mut Diagnostics,
    field: &Field<Vec<Located<String>>>,
    context: &Context<'_>,
) -> Option<BTreeSet<String>> {
    let users = field.as_present()?;
    if !context.has_passwords {
        diagnostics.error(
            users,
            "users are identified by their passwords; set service.htpasswd_path, or remove this key",
        );
    } else if users.value.is_empty() {
        diagnostics.error(
            users,
            "the list is empty, so that no client could lock; name a user, or remove this key to allow all users",
        );
    }
    for user in &users.value {
        let name = &user.value;
        if name.is_empty() || name.contains(':') || name.contains(char::is_control) {
            let text = format!(
                "{} is not a valid user name; an htpasswd file has no empty names, and none with ':' or control \
                 characters",
                quote(name)
            );
            diagnostics.error(user, text);
        }
    }
    Some(users.value.iter().map(|user| user.value.clone()).collect())
}

/// Returns a time in minutes, of which 0 means none; the outer `None` if the key is absent or invalid.
fn minutes(field: &Field<u64>) -> Option<Option<SignedDuration>> {
    let minutes = i64::try_from(field.as_present()?.value).unwrap_or(i64::MAX);
    Some((minutes > 0).then(|| SignedDuration::from_mins(minutes)))
}

fn checked_slots(
    diagnostics: &mut Diagnostics,
    field: &Field<u64>,
    context: &Context<'_>,
) -> Option<u64> {
    let slots = field.as_present()?;
    let fits = context.store.map(|store| store.check_slots(slots.value));
    if let Some(Err(error)) = fits {
        diagnostics.error(slots, error.to_string());
    }
    Some(slots.value)
}
