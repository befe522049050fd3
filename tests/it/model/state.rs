//! The state of a fleet, including the observations that the properties are checked with.

use airlock::lock::codec::Revision;

use super::admin::Admin;
use super::fleet::{NEVER_ABOVE_SLOTS, ONCE, TRUE_ANSWERS, TRUE_REFUSALS};
use super::server::Server;
use super::value::{Content, Nodes, Value};

/// Any earlier revision. Unless an operator restores the store, no comparison with it succeeds, so all of them are
/// equivalent.
pub(crate) const GONE: Revision = Revision(1);
/// An earlier revision that differs from an earlier one which the server knows.
pub(crate) const OLDER: Revision = Revision(-1);
/// The current revision, unless there is no value.
pub(crate) const CURRENT: Revision = Revision(2);

/// A request of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Endpoint {
    PreReboot,
    /// A request to pre-reboot while a policy refuses new grants.
    Renew,
    SteadyState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) content: Content,
    /// The revision of the latest write. A deletion does not set it back, a restoration does.
    pub(crate) latest: Revision,
    /// The backup that an operator can restore.
    pub(crate) backup: Option<Content>,
    /// How often an operator can still delete the value or restore the backup.
    pub(crate) interventions: usize,
    /// Writes in flight that can still take effect, but for which no writer waits.
    pub(crate) late: Vec<Write>,
    pub(crate) servers: Vec<Server>,
    pub(crate) admin: Admin,
    pub(crate) nodes: Vec<Node>,
    /// The property that the last action violated.
    pub(crate) broken: Option<&'static str>,
}

/// The origin of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Writer {
    Server(usize),
    Admin,
    /// A server that has crashed since.
    Crashed,
}

/// A write of Airlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Write {
    pub(crate) of: Writer,
    /// The content that it compares with.
    pub(crate) expected: Content,
    pub(crate) value: Value,
    /// The nodes whose requests, which still wait, it applies.
    pub(crate) applies: Nodes,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    /// While the node waits: the facts that were true at some moment since its request.
    pub(crate) facts: Option<Facts>,
    /// Whether the request for which the node waits has taken effect.
    pub(crate) applied: bool,
    /// The last response, if it is still expected to be true: neither the node nor an operator acted since.
    pub(crate) last_reply: Option<Reply>,
}

/// Facts about a node, each of which a response can state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Facts {
    pub(crate) held: bool,
    pub(crate) not_held: bool,
    pub(crate) full: bool,
}

/// The statement of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reply {
    Held,
    NotHeld,
    /// The node did not become a holder, because every slot is held.
    Full,
}

impl State {
    /// Stores a value. The caller has compared the content.
    pub(crate) fn store(&mut self, value: Option<Value>, revision: Revision) {
        let content = Content { revision, value };
        self.content = content;
        for (node, its) in self.nodes.iter_mut().enumerate() {
            its.facts = its.facts.map(|facts| facts.and(content, node));
        }
    }

    /// Writes a value that does not come from Airlock's protocol.
    pub(crate) fn write(&mut self, value: Value) {
        self.latest = Revision(self.latest.0 + 1);
        self.store(Some(value), self.latest);
    }

    /// Performs a write of Airlock. The caller has compared the content.
    pub(crate) fn write_of_ours(&mut self, write: Write) {
        let Write { value, .. } = write;
        let before = self.content.or_empty(value.slots);
        let grants = value.holders & !before.holders != 0;
        if grants && u64::from(value.holders.count_ones()) > value.slots {
            self.broken = Some(NEVER_ABOVE_SLOTS);
        }
        if write.of == Writer::Admin {
            self.expect_changes(before.holders ^ value.holders);
            if value.entry && self.admin.applied {
                self.broken = Some(ONCE);
            }
            self.admin.applied |= value.entry;
        }
        self.write(value);
        for node in 0..self.nodes.len() {
            if write.applies & (1 << node) != 0 {
                if self.nodes[node].applied {
                    self.broken = Some(ONCE);
                }
                self.nodes[node].applied = true;
            }
        }
    }

    /// Deletes the value in the name of an operator. This suspends what the responses to its holders state.
    pub(crate) fn delete(&mut self) {
        let held = self.content.value.map_or(0, |value| value.holders);
        self.expect_changes(held);
        self.store(None, Revision::ABSENT);
    }

    /// Restores the backup. This suspends what responses state about the nodes for which the backup differs, and undoes
    /// what requests and commands have done since.
    pub(crate) fn restore(&mut self, backup: Content) {
        let of = |content: Content| content.value.map_or(0, |value| value.holders);
        self.expect_changes(of(self.content) ^ of(backup));
        for node in &mut self.nodes {
            node.applied = false;
        }
        self.admin.applied = backup.value.is_some_and(|value| value.entry);
        self.latest = backup.revision;
        self.store(backup.value, backup.revision);
    }

    /// An operator changes whether these nodes hold a slot.
    pub(crate) fn expect_changes(&mut self, nodes: Nodes) {
        for (node, its) in self.nodes.iter_mut().enumerate() {
            if nodes & (1 << node) != 0 {
                its.last_reply = None;
            }
        }
    }

    /// Records that a write may still arrive.
    pub(crate) fn send_late(&mut self, write: Write) {
        self.late.push(write);
        self.late.sort_unstable();
    }

    /// A write in flight arrives.
    pub(crate) fn arrive(&mut self, late: usize, compares_bytes: bool) {
        let write = self.late.remove(late);
        if self.content.is_still(write.expected, compares_bytes) {
            self.write_of_ours(write);
        }
    }

    /// Crashes a server. Its nodes receive no response, and its late writes belong to no server.
    pub(crate) fn crash(&mut self, server: usize) {
        for waiting in std::mem::take(&mut self.servers[server]).waiting {
            self.leave(waiting.node);
        }
        for late in &mut self.late {
            if late.of == Writer::Server(server) {
                late.of = Writer::Crashed;
            }
        }
        self.late.sort_unstable();
    }

    /// The request of a node ends, with or without a response.
    pub(crate) fn leave(&mut self, node: usize) -> Facts {
        for late in &mut self.late {
            late.applies &= !(1 << node);
        }
        self.nodes[node].applied = false;
        self.nodes[node].facts.take().unwrap_or_default()
    }

    /// Handles a request of a node as coreos/airlock does, without a conflict.
    pub(crate) fn coreos_airlock(&mut self, node: usize, endpoint: Endpoint, slots: u64) {
        let value = self.content.or_empty(slots);
        let grants = u64::from(value.holders.count_ones()) < value.slots;
        let after = match endpoint {
            Endpoint::SteadyState => value.without(node),
            _ if value.holds(node) || !grants => value,
            _ => value.with(node),
        };
        self.nodes[node].last_reply = Some(match endpoint {
            Endpoint::SteadyState => Reply::NotHeld,
            _ if after.holds(node) => Reply::Held,
            _ => Reply::Full,
        });
        // coreos/airlock writes even an unchanged value. It does not know the audit entries, which end with that.
        self.write(Value {
            entry: false,
            earlier: false,
            ..after
        });
    }

    /// Refuses the request of a node: the response says that it had no effect.
    pub(crate) fn refuse(&mut self, node: usize) -> Facts {
        let content = self.content;
        let arrives = |late: &Write| late.expected == content && late.applies & (1 << node) != 0;
        if self.nodes[node].applied || self.late.iter().any(arrives) {
            self.broken = Some(TRUE_REFUSALS);
        }
        self.leave(node)
    }

    /// Responds to a node with a statement.
    pub(crate) fn answer(&mut self, server: usize, node: usize, reply: Reply) {
        // An earlier request of the node to another server, or to this one before a crash, may still take effect. This
        // server cannot know of it.
        let overtaken = self.late.iter().any(|late| {
            late.of != Writer::Server(server)
                && late.expected.revision == self.content.revision
                && late.value.holds(node) != self.content.holds(node)
        });
        let facts = match reply {
            Reply::Full => self.refuse(node),
            Reply::Held | Reply::NotHeld => self.leave(node),
        };
        let is_true = match reply {
            Reply::Held => facts.held,
            Reply::NotHeld => facts.not_held,
            Reply::Full => facts.full,
        };
        if !is_true {
            self.broken = Some(TRUE_ANSWERS);
        }
        self.nodes[node].last_reply = (!overtaken).then_some(reply);
    }

    /// Renames the revisions: all but the current one are equivalent. Without a restoration only.
    pub(crate) fn rename_revisions(&mut self) {
        let current = self.latest;
        let is_current = self.content.revision == current;
        let rename = |revision: &mut Revision| match *revision {
            Revision::ABSENT => {}
            found if found == current && is_current => *revision = CURRENT,
            _ => *revision = GONE,
        };
        for server in &mut self.servers {
            server.rename_revisions(&rename);
        }
        self.admin.rename_revisions(&rename);
        for late in &mut self.late {
            rename(&mut late.expected.revision);
        }
        rename(&mut self.content.revision);
        self.latest = CURRENT;
    }

    /// Drops the writes in flight that can only end in a conflict, and what no action reads.
    pub(crate) fn normalize(&mut self, renamed: bool) {
        if renamed {
            let (revision, returns) = (self.content.revision, self.interventions > 0);
            self.late.retain(|late| {
                let expected = late.expected.revision;
                expected == revision || (returns && expected == Revision::ABSENT)
            });
            self.late.sort_unstable();
        }
        for server in &mut self.servers {
            server.normalize(renamed);
            for waiting in &server.waiting {
                let Some(facts) = &mut self.nodes[waiting.node].facts else {
                    continue;
                };
                match waiting.endpoint {
                    Endpoint::PreReboot => facts.not_held = false,
                    Endpoint::Renew => facts.full = false,
                    Endpoint::SteadyState => (facts.held, facts.full) = (false, false),
                }
            }
        }
        self.admin.normalize();
    }

    /// Sorts the servers. They are interchangeable, so states that differ only in their order are equal.
    pub(crate) fn sort_servers(&mut self) {
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        order.sort_by_cached_key(|index| self.servers[*index].key());
        self.servers = order
            .iter()
            .map(|index| self.servers[*index].clone())
            .collect();
        for late in &mut self.late {
            if let Writer::Server(of) = &mut late.of {
                *of = order.iter().position(|index| index == of).unwrap_or(*of);
            }
        }
        self.late.sort_unstable();
    }
}

impl Facts {
    /// Adds the facts that are true now.
    pub(crate) fn and(self, content: Content, node: usize) -> Self {
        let held = content.holds(node);
        let full = content
            .value
            .is_some_and(|value| u64::from(value.holders.count_ones()) >= value.slots);
        Facts {
            held: self.held || held,
            not_held: self.not_held || !held,
            full: self.full || (full && !held),
        }
    }
}
