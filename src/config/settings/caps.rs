//! `[[lock.caps]]`: the limits that several groups share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::GroupSettings;
use crate::config::diagnostic::{Diagnostics, Located, quote};
use crate::config::schema::CapSection;
use crate::config::suggest;
use crate::lock::policy::Cap;
use crate::lock::{GroupName, MAX_CAP_MEMBERS, code_point, is_control_or_format};

/// The maximum size of a name, which is a label of metrics and part of responses.
const MAX_NAME_BYTES: usize = 100;

/// A limit that several groups share. At least one of the two limits is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CapSettings {
    /// The name, unique among the caps.
    pub(crate) name: Arc<str>,
    /// The groups, at least two.
    pub(crate) groups: BTreeSet<GroupName>,
    /// The number of slots that nodes of all groups together may hold, at least 1.
    pub(crate) max_held: Option<u64>,
    /// The number of groups that may have holders at the same time, at least 1.
    pub(crate) max_groups: Option<u64>,
}

// === impl CapSettings ===

impl CapSettings {
    /// Returns the cap as it applies to `group`; `None` if it does not.
    pub(crate) fn for_group(&self, group: &GroupName) -> Option<Cap> {
        self.groups.contains(group).then(|| Cap {
            name: Arc::clone(&self.name),
            max_held: self.max_held,
            max_groups: self.max_groups,
            others: self
                .groups
                .iter()
                .filter(|other| *other != group)
                .cloned()
                .collect(),
        })
    }
}

/// Returns the caps on `groups`, in the order of the file.
pub(super) fn check(
    diagnostics: &mut Diagnostics,
    sections: Vec<Located<CapSection>>,
    groups: &BTreeMap<GroupName, GroupSettings>,
) -> Vec<CapSettings> {
    let mut caps = Vec::new();
    let mut first_lines: BTreeMap<Arc<str>, Option<usize>> = BTreeMap::new();
    let mut members = Members::default();
    for section in sections {
        let name = checked_name(diagnostics, &section, &mut first_lines);
        let is_limited = has_limit(diagnostics, &section);
        let found = checked_groups(diagnostics, &section, groups);
        let (Some(name), true, Some(found)) = (name, is_limited, found) else {
            continue;
        };
        members.add(diagnostics, &found);
        let section = section.value;
        warn_without_effect(diagnostics, &section, &found.value, groups);
        caps.push(CapSettings {
            name,
            groups: found.value,
            max_held: section.max_held.present().map(|max| max.value),
            max_groups: section.max_groups.present().map(|max| max.value),
        });
    }
    caps
}

/// Returns the name; `None` if it is missing, invalid, or not unique.
fn checked_name(
    diagnostics: &mut Diagnostics,
    section: &Located<CapSection>,
    first_lines: &mut BTreeMap<Arc<str>, Option<usize>>,
) -> Option<Arc<str>> {
    if section.value.name.is_absent() {
        diagnostics.error(
            &section.missing("name"),
            "the cap has no name; add name = \"…\"",
        );
    }
    let name = section.value.name.as_present()?;
    let text = name.value.as_str();
    let quoted = quote(text);
    let problem = if text.trim().is_empty() {
        "the name is empty; a cap needs a name".into()
    } else if text.len() > MAX_NAME_BYTES {
        let length = text.len();
        format!("cap name {quoted} has {length} bytes; shorten it to {MAX_NAME_BYTES} or fewer")
    } else if let Some(found) = text.chars().find(|c| is_control_or_format(*c)) {
        let found = code_point(found);
        format!("cap name {quoted} contains the control or format character {found}; remove it")
    } else if let Some(first) = first_lines.get(text) {
        let first = first.unwrap_or_default();
        format!("cap {quoted} is configured twice, first on line {first}; rename one of the two")
    } else {
        let text: Arc<str> = text.into();
        first_lines.insert(Arc::clone(&text), name.line);
        return Some(text);
    };
    diagnostics.error(name, problem);
    None
}

fn has_limit(diagnostics: &mut Diagnostics, section: &Located<CapSection>) -> bool {
    let (held, groups) = (&section.value.max_held, &section.value.max_groups);
    if held.is_absent() && groups.is_absent() {
        diagnostics.error(
            section,
            "the cap limits nothing; add max_held = 1 (locks of all its groups together), max_groups = 1 (groups with \
             locks at the same time), or both",
        );
    }
    held.as_present().is_some() || groups.as_present().is_some()
}

/// Returns the groups; `None` if one of them is not configured, or there are fewer than two.
fn checked_groups(
    diagnostics: &mut Diagnostics,
    section: &Located<CapSection>,
    configured: &BTreeMap<GroupName, GroupSettings>,
) -> Option<Located<BTreeSet<GroupName>>> {
    if section.value.groups.is_absent() {
        diagnostics.error(
            &section.missing("groups"),
            "the cap has no groups; add groups = [\"…\", \"…\"]",
        );
    }
    let names = section.value.groups.as_present()?;
    let mut found = BTreeSet::new();
    let mut is_valid = true;
    for name in &names.value {
        let quoted = quote(&name.value);
        let group = GroupName::new(&name.value).filter(|group| configured.contains_key(group));
        let problem = match group {
            None => unknown_group(&name.value, configured),
            Some(group) if found.contains(&group) => {
                format!("the cap names group {quoted} twice; remove one of the two")
            }
            Some(group) => {
                found.insert(group);
                continue;
            }
        };
        diagnostics.error(name, problem);
        is_valid = false;
    }
    if is_valid && found.len() < 2 {
        diagnostics.error(
            names,
            "a cap limits at least two groups together; name another one, or set the slots of the group instead",
        );
        return None;
    }
    is_valid.then(|| names.with(found))
}

fn unknown_group(name: &str, configured: &BTreeMap<GroupName, GroupSettings>) -> String {
    let names = configured.keys().map(GroupName::as_str);
    let suggestion = match suggest::nearest(name, names, name.chars().count().div_ceil(3)) {
        Some(near) => format!("did you mean {}?", quote(near)),
        None => "add it to [[lock.groups]], or remove it here".into(),
    };
    format!("group {} is not configured; {suggestion}", quote(name))
}

/// Warns of limits that the groups can never reach.
fn warn_without_effect(
    diagnostics: &mut Diagnostics,
    section: &CapSection,
    members: &BTreeSet<GroupName>,
    configured: &BTreeMap<GroupName, GroupSettings>,
) {
    let slots = members.iter().filter_map(|name| configured.get(name));
    let slots = slots.fold(0_u64, |sum, group| sum.saturating_add(group.slots));
    if let Some(max) = section.max_held.as_present()
        && max.value >= slots
    {
        let text = format!(
            "max_held has no effect because the groups of the cap have {slots} slots together; set a lower number, or \
             remove this key"
        );
        diagnostics.warning(max, text);
    }
    if let Some(max) = section.max_groups.as_present()
        && usize::try_from(max.value).is_ok_and(|max| max >= members.len())
    {
        let count = members.len();
        let text = format!(
            "max_groups has no effect because the cap has {count} groups; set a lower number, or remove this key"
        );
        diagnostics.warning(max, text);
    }
}

/// The groups that share a cap with each group: a commit with a new lock compares them all.
#[derive(Default)]
struct Members(BTreeMap<GroupName, BTreeSet<GroupName>>);

// === impl Members ===

impl Members {
    /// Adds the groups of a cap. It is an error if one of them now shares caps with too many others.
    fn add(&mut self, diagnostics: &mut Diagnostics, cap: &Located<BTreeSet<GroupName>>) {
        let mut too_many: Option<(&GroupName, usize)> = None;
        for group in &cap.value {
            let others = self.0.entry(group.clone()).or_default();
            let before = others.len();
            others.extend(cap.value.iter().filter(|other| *other != group).cloned());
            let after = others.len();
            let is_new = before <= MAX_CAP_MEMBERS && after > MAX_CAP_MEMBERS;
            if is_new && too_many.is_none_or(|(_, most)| after > most) {
                too_many = Some((group, after));
            }
        }
        if let Some((group, count)) = too_many {
            let text = format!(
                "group {} shares caps with {count} other groups, more than the {MAX_CAP_MEMBERS} that one transaction \
                 of etcd can compare; use smaller caps",
                quote(group.as_str())
            );
            diagnostics.error(cap, text);
        }
    }
}
