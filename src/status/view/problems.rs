//! What an operator should look at: the page, the JSON and the command line agree on it.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::net::IpAddr;

use super::condition::Condition;
use super::denials::DenialView;
use super::group::GroupView;
use super::servers::ServerView;
use super::{StatusView, StoreView};

/// A problem that an operator should look at.
#[derive(Debug)]
pub(crate) enum Problem<'a> {
    /// The store does not reply, or has not yet, or refuses writes.
    Store(&'a StoreView),
    /// A group needs attention.
    Group(&'a GroupView),
    /// Clients are rejected that are most likely nodes.
    Rejected {
        /// One of them: the latest, as far as is known.
        latest: &'a DenialView,
        /// The number of their addresses.
        clients: usize,
    },
    /// No server has published its document.
    NoServer,
    /// The configurations of running servers differ.
    ConfigurationsDiffer(Vec<&'a ServerView>),
    /// Servers were lost.
    Lost(Vec<&'a ServerView>),
    /// The documents of the servers are not known.
    ServersUnknown,
    /// This server has not applied its configuration file.
    NotReloaded,
    /// The store works, but an operator should know something about it.
    Notices,
}

// === impl StatusView ===

impl StatusView {
    /// Returns the problems, the worst one first.
    pub(crate) fn problems(&self) -> Vec<Problem<'_>> {
        let groups = self.groups.iter().filter(|group| group.needs_attention);
        let mut groups: Vec<&GroupView> = groups.collect();
        groups.sort_by_key(|group| (group.state, Reverse(oldest_hold(group)), &group.name));
        let groups = |from: Condition, to: Condition| {
            let groups = groups.iter().copied();
            let groups = groups.filter(move |group| (from..=to).contains(&group.state));
            groups.map(Problem::Group)
        };
        let mut problems = Vec::new();
        let store = &self.store;
        problems.extend((!store.up || !store.writable).then_some(Problem::Store(store)));
        problems.extend(groups(Condition::Damaged, Condition::Overdue));
        problems.extend(self.rejected());
        problems.extend(groups(Condition::Failing, Condition::GateFailed));
        problems.extend(self.problem_of_servers());
        problems.extend(groups(Condition::Unknown, Condition::Free));
        problems.extend(self.reload_problem.as_ref().map(|_| Problem::NotReloaded));
        problems.extend((!store.notices.is_empty()).then_some(Problem::Notices));
        problems
    }

    fn rejected(&self) -> Option<Problem<'_>> {
        let clients = || self.denials.iter().filter(|client| client.needs_attention);
        let peers: HashSet<IpAddr> = clients().map(|client| client.peer).collect();
        let latest = clients().max_by_key(|client| client.last.unwrap_or(client.first))?;
        Some(Problem::Rejected {
            latest,
            clients: peers.len(),
        })
    }

    fn problem_of_servers(&self) -> Option<Problem<'_>> {
        let Some(servers) = &self.servers else {
            return Some(Problem::ServersUnknown);
        };
        let such = |is_such: fn(&ServerView) -> bool| -> Vec<&ServerView> {
            servers.iter().filter(|server| is_such(server)).collect()
        };
        let differing = such(|server| server.configuration_differs);
        let lost = such(|server| !server.alive);
        match () {
            () if lost.len() == servers.len() => Some(Problem::NoServer),
            () if !differing.is_empty() => Some(Problem::ConfigurationsDiffer(differing)),
            () if !lost.is_empty() => Some(Problem::Lost(lost)),
            () => None,
        }
    }
}

fn oldest_hold(group: &GroupView) -> Option<i64> {
    let oldest = group.lock.as_ref()?.holders.first()?;
    oldest.age_seconds
}
