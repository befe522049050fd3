//! The state of a fleet with policies, including the observations that the properties are checked with.

use super::super::fleet::{ONCE, TRUE_ANSWERS, TRUE_REFUSALS};
use super::super::state::{GONE, Writer};
use super::super::value::Nodes;
use super::fleet::CAPS;
use super::rules::Policies;
use super::server::Server;
use super::value::{Content, NOW, Tick, Value};

/// A request of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Endpoint {
    PreReboot,
    SteadyState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(super) groups: [Group; 2],
    /// Writes in flight that can still take effect, but for which no writer waits.
    pub(super) late: Vec<Write>,
    pub(super) servers: Vec<Server>,
    pub(super) admin: Admin,
    pub(super) nodes: Vec<Node>,
    /// The property that the last action violated.
    pub(super) broken: Option<&'static str>,
}

/// A group in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Group {
    pub(super) content: Content,
    /// The latest time at which a node has asked for a release that was committed, whatever is stored.
    pub(super) released: Option<Tick>,
}

/// A write of Airlock. As long as it can take effect, what it compares is current.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Write {
    pub(super) of: Writer,
    pub(super) group: usize,
    /// Whether it compares the other group too.
    pub(super) compares_other: bool,
    pub(super) value: Value,
    /// The latest time at which a node has asked for a release in this write.
    pub(super) released: Option<Tick>,
    /// The nodes whose requests, which still wait, it applies.
    pub(super) applies: Nodes,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Node {
    /// While the node waits: the facts that were true at some moment since its request.
    pub(super) facts: Option<Facts>,
    /// Whether the request for which the node waits has taken effect.
    pub(super) applied: bool,
    /// Whether the last response says that the node holds a slot, if that is still expected to be true.
    pub(super) last_reply: Option<bool>,
}

/// Facts about a node, each of which a response can state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Facts {
    pub(super) held: bool,
    pub(super) not_held: bool,
    /// Reasons to refuse the node, which was not a holder.
    pub(super) reasons: Reasons,
}

/// A set of reasons, one bit for each.
pub(super) type Reasons = u8;

/// A reason why a node is not granted a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reason {
    Full = 1,
    Stalled = 2,
    Settling = 4,
    Capped = 8,
}

/// The statement of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reply {
    Held,
    NotHeld,
    Refused(Reason),
}

/// The state of the only administrator's lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Admin {
    pub(super) known: [Option<Content>; 2],
    /// Whether the command has ended, with whatever result.
    pub(super) has_ended: bool,
}

impl State {
    /// Stores a value, and drops the late writes that can no longer take effect.
    pub(super) fn store(&mut self, group: usize, value: Value) {
        self.groups[group].content.value = value;
        for server in &mut self.servers {
            server.tasks[group].outdate();
        }
        if let Some(known) = &mut self.admin.known[group] {
            known.revision = GONE;
        }
        self.late
            .retain(|late| late.group != group && !late.compares_other);
    }

    /// Performs a write of Airlock, the comparisons of which have succeeded.
    pub(super) fn write(&mut self, policies: &Policies, write: Write) {
        let Write { group, value, .. } = write;
        let before = self.groups[group].content.value;
        let other = self.groups[1 - group].content.value;
        let grants = value.holders & !before.holders != 0;
        if grants && policies.exceeds_cap(before, value, other) {
            self.broken = Some(CAPS);
        }
        if write.of == Writer::Admin {
            self.expect_changes(before.holders ^ value.holders);
        }
        let released = &mut self.groups[group].released;
        *released = write.released.max(*released);
        self.store(group, value);
        for node in 0..self.nodes.len() {
            if write.applies & (1 << node) != 0 {
                if self.nodes[node].applied {
                    self.broken = Some(ONCE);
                }
                self.nodes[node].applied = true;
            }
        }
    }

    /// An operator changes whether these nodes hold a slot.
    pub(super) fn expect_changes(&mut self, nodes: Nodes) {
        for (node, its) in self.nodes.iter_mut().enumerate() {
            if nodes & (1 << node) != 0 {
                its.last_reply = None;
            }
        }
    }

    /// Reports whether there was a reason to refuse a waiting node since its request.
    pub(super) fn has_reason(&self, reason: Reason) -> bool {
        let facts = self.nodes.iter().filter_map(|node| node.facts);
        let mut reasons = facts.map(|facts| facts.reasons);
        reasons.any(|reasons| reasons & reason as Reasons != 0)
    }

    /// Records that a write may still arrive.
    pub(super) fn send_late(&mut self, write: Write) {
        self.late.push(write);
        self.late.sort_unstable();
    }

    /// Crashes a server, which starts again and reads all values. Its nodes receive no response, and its late writes
    /// belong to no server.
    pub(super) fn crash(&mut self, server: usize, clock: Option<Tick>) {
        let started = Server::started(&self.groups, clock);
        let before = std::mem::replace(&mut self.servers[server], started);
        for waiting in before.tasks.iter().flat_map(|task| &task.waiting) {
            self.leave(waiting.node);
        }
        for late in &mut self.late {
            if late.of == Writer::Server(server) {
                late.of = Writer::Crashed;
            }
        }
    }

    /// Time passes: at most one tick while a request waits, since its deadline is shorter.
    pub(super) fn tick(&mut self, policies: &Policies) {
        let mut overdue = Vec::new();
        for task in self.servers.iter_mut().flat_map(|server| &mut server.tasks) {
            overdue.extend(task.waiting.extract_if(.., |waiting| waiting.at < NOW));
            for waiting in &mut task.waiting {
                waiting.at -= 1;
            }
            policies.age_value(&mut task.known.value);
            task.memory = task.memory.and_then(|at| at.checked_sub(1));
        }
        for waiting in overdue {
            self.leave(waiting.node);
        }
        for group in &mut self.groups {
            policies.age_value(&mut group.content.value);
            group.released = policies.age_release(group.released);
        }
        for late in &mut self.late {
            policies.age_value(&mut late.value);
            late.released = policies.age_release(late.released);
        }
    }

    /// Gives a server the current value of a group.
    pub(super) fn follow(&mut self, server: usize, group: usize) {
        self.servers[server].tasks[group].known = self.groups[group].content;
    }

    /// The request of a node ends, with or without a response.
    pub(super) fn leave(&mut self, node: usize) -> Facts {
        for late in &mut self.late {
            late.applies &= !(1 << node);
        }
        self.nodes[node].applied = false;
        self.nodes[node].facts.take().unwrap_or_default()
    }

    /// Responds to a node with a statement.
    pub(super) fn answer(&mut self, server: usize, group: usize, node: usize, reply: Reply) {
        let holds = self.groups[group].content.value.holds(node);
        // An earlier request of the node to another server, or to this one before a crash, may still take effect. This
        // server cannot know of it.
        let overtaken = self.late.iter().any(|late| {
            late.of != Writer::Server(server)
                && late.group == group
                && late.value.holds(node) != holds
        });
        let arrives = |late: &Write| late.applies & (1 << node) != 0;
        let takes_effect = self.nodes[node].applied || self.late.iter().any(arrives);
        let facts = self.leave(node);
        let is_true = match reply {
            Reply::Held => facts.held,
            Reply::NotHeld => facts.not_held,
            Reply::Refused(reason) => {
                if takes_effect {
                    self.broken = Some(TRUE_REFUSALS);
                }
                facts.reasons & reason as Reasons != 0
            }
        };
        if !is_true {
            self.broken = Some(TRUE_ANSWERS);
        }
        self.nodes[node].last_reply = (!overtaken).then_some(reply == Reply::Held);
    }

    /// Sorts the servers, if they are interchangeable, and the late writes.
    pub(super) fn sort(&mut self, servers: bool) {
        if servers && self.servers.len() == 2 && self.servers[0].key() > self.servers[1].key() {
            self.servers.swap(0, 1);
            for late in &mut self.late {
                if let Writer::Server(of) = &mut late.of {
                    *of = 1 - *of;
                }
            }
        }
        self.late.sort_unstable();
    }
}
