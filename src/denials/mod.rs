//! The clients that were rejected recently, as information for operators. In memory only, and bounded.
//!
//! A node that has to wait is not among them: those are the waiting nodes of its group.

mod list;
mod metrics;
mod reason;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::net::IpAddr;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;

use crate::config::nearest;
use crate::lock::GroupName;
use crate::text::escape::quoted;
pub(crate) use list::Denial;
use list::{DenialList, Entry, Key, bounded};
pub(crate) use metrics::DenialCollector;
pub(crate) use reason::{DenialReason, Relevance};

/// The maximum number of clients that are known without a configured group. A client takes at most 700 bytes.
const MAX_OF_SERVER: usize = 256;

/// The maximum number of clients in a list for people or other servers.
pub(crate) const MAX_LISTED: usize = 256;

/// The maximum number of clients that are known for each configured group.
const MAX_OF_GROUP: usize = 64;

/// The maximum number of unknown groups for which a list suggests a configured one, since a client can send many
/// names. Longer ones than [`MAX_MISSPELT`] bytes are not compared.
const MAX_SUGGESTIONS: usize = 16;
const MAX_MISSPELT: usize = 64;

/// All rejected clients of the server: one list for each configured group, and one for the others.
#[derive(Default)]
pub(crate) struct Denials {
    lists: Mutex<Lists>,
}

#[derive(Default)]
struct Lists {
    without_group: DenialList,
    groups: BTreeMap<GroupName, DenialList>,
}

/// A rejected client. docs/reference.md documents its JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct DeniedClient {
    pub(crate) reason: DenialReason,
    /// The latest address. Clients of one IPv6 network of 64 bits count as one.
    pub(crate) peer: IpAddr,
    /// The configured group that the client claims to belong to.
    pub(crate) group: Option<String>,
    /// The node that the client claimed to be most recently.
    pub(crate) id: Option<String>,
    /// What else is known about the latest denial. It may contain any character.
    pub(crate) detail: Option<String>,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    /// The number of denials since `first`.
    pub(crate) times: u64,
}

// === impl Denials ===

impl Denials {
    /// Replaces the configured groups. The clients of groups that remain stay known.
    pub(crate) fn set_groups<'g>(&self, names: impl IntoIterator<Item = &'g GroupName>) {
        let mut lists = self.lists.lock();
        let mut known = mem::take(&mut lists.groups);
        let groups = names.into_iter().map(|name| {
            let list = known.remove(name).unwrap_or_default();
            (name.clone(), list)
        });
        lists.groups = groups.collect();
    }

    /// Records a denial.
    pub(crate) fn record(&self, denial: &Denial<'_>, now: Timestamp) {
        let Lists {
            without_group,
            groups,
        } = &mut *self.lists.lock();
        match denial.group.and_then(|name| groups.get_mut(name)) {
            Some(list) => list.record(denial, MAX_OF_GROUP, now),
            None => without_group.record(denial, MAX_OF_SERVER, now),
        }
    }

    /// Returns up to `max` clients that were rejected in the last 15 minutes, the latest first.
    pub(crate) fn list(&self, now: Timestamp, max: usize) -> Vec<DeniedClient> {
        let (mut clients, groups) = self.latest(now, max);
        suggest_groups(&mut clients, &groups);
        clients
    }

    /// Returns the number of clients that were rejected in the last 15 minutes, for each reason. A client that named
    /// several groups counts once for each of them.
    pub(crate) fn counts(
        &self,
        now: Timestamp,
    ) -> [(DenialReason, usize); DenialReason::ALL.len()] {
        let mut sums = DenialReason::ALL.map(|reason| (reason, 0));
        for (_, list) in self.lists.lock().all() {
            let counts = sums.iter_mut().zip(list.counts(now));
            counts.for_each(|((_, sum), count)| *sum += count);
        }
        sums
    }

    /// Returns the latest clients, and the configured groups.
    fn latest(&self, now: Timestamp, max: usize) -> (Vec<DeniedClient>, Vec<GroupName>) {
        let mut lists = self.lists.lock();
        let groups = lists.groups.keys().cloned().collect();
        let mut clients = Vec::new();
        for (group, list) in lists.all() {
            clients.extend(list.clients(now).map(|(key, entry)| (group, key, entry)));
        }
        if clients.len() > max {
            clients.select_nth_unstable_by_key(max, order);
            clients.truncate(max);
        }
        clients.sort_unstable_by_key(order);
        let listed = clients.into_iter();
        let listed =
            listed.map(|(group, (reason, _), entry)| DeniedClient::new(reason, group, entry));
        (listed.collect(), groups)
    }
}

// === impl Lists ===

impl Lists {
    fn all(&mut self) -> impl Iterator<Item = (Option<&GroupName>, &mut DenialList)> {
        let groups = self.groups.iter_mut();
        let groups = groups.map(|(name, list)| (Some(name), list));
        [(None, &mut self.without_group)].into_iter().chain(groups)
    }
}

// === impl DeniedClient ===

impl DeniedClient {
    fn new(reason: DenialReason, group: Option<&GroupName>, entry: &Entry) -> Self {
        DeniedClient {
            reason,
            peer: entry.peer,
            group: group.map(ToString::to_string),
            id: entry.id.as_ref().map(ToString::to_string),
            detail: entry.detail.as_deref().map(str::to_owned),
            first: entry.first,
            last: entry.last,
            times: entry.times,
        }
    }
}

/// Orders the latest denials first.
fn order<'a>(
    (group, key, entry): &(Option<&'a GroupName>, Key, &Entry),
) -> (Reverse<Timestamp>, Option<&'a GroupName>, Key) {
    (Reverse(entry.last), *group, *key)
}

/// Turns the names of unknown groups into texts for people, with the configured group that each most likely stands
/// for.
///
/// This is done for the clients that are listed, not for each denial: a comparison with every group would let a client
/// that sends many names use much processor time.
fn suggest_groups(clients: &mut [DeniedClient], groups: &[GroupName]) {
    let mut suggestions = HashMap::new();
    for client in clients {
        if client.reason != DenialReason::UnknownGroup {
            continue;
        }
        let Some(name) = client.detail.take() else {
            continue;
        };
        let is_compared = name.len() <= MAX_MISSPELT && suggestions.len() < MAX_SUGGESTIONS;
        let suggestion = match suggestions.get(&name) {
            Some(suggestion) => *suggestion,
            None if is_compared => {
                let max = name.chars().count().div_ceil(3);
                let suggestion = nearest(&name, groups.iter().map(GroupName::as_str), max);
                suggestions.insert(name.clone(), suggestion);
                suggestion
            }
            None => None,
        };
        let mut text = bounded(&quoted(&name)).into_string();
        if let Some(near) = suggestion {
            text = format!("{text}; did you mean {}?", quoted(near));
        }
        client.detail = Some(text);
    }
}
