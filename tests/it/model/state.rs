//! The state of a fleet, including the observations that the properties are checked with.

use std::sync::Arc;

use airlock::lock::codec::Revision;
use airlock::lock::protocol::{Attempt, Protocol};
use airlock::lock::semaphore::{Command, Outcome, Semaphore};

use super::fleet::{NEVER_ABOVE_SLOTS, TRUE_ANSWERS};

/// A set of nodes, one bit for each.
pub(crate) type Nodes = u8;

/// Any earlier revision. No comparison with it succeeds, so all of them are equivalent. This requires that the
/// model never deletes the value.
pub(crate) const GONE: Revision = Revision(1);
/// The current revision, once a value exists.
pub(crate) const CURRENT: Revision = Revision(2);

/// A request of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Endpoint {
    PreReboot,
    SteadyState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) revision: Revision,
    pub(crate) value: Value,
    /// Writes in flight that can still take effect, but for which no server waits.
    pub(crate) late: Vec<Late>,
    pub(crate) servers: Vec<Server>,
    pub(crate) nodes: Vec<Node>,
    /// The property that the last action violated.
    pub(crate) broken: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Value {
    pub(crate) slots: u64,
    pub(crate) holders: Nodes,
}

/// A late write that expects the current revision. `of` is the server that sent it, unless that has crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Late {
    pub(crate) of: Option<usize>,
    pub(crate) value: Value,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Server {
    pub(crate) known: Option<(Revision, Value)>,
    pub(crate) protocol: Protocol,
    pub(crate) waiting: Vec<(usize, Endpoint)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    /// While the node waits: the facts that were true at some moment since its request.
    pub(crate) facts: Option<Facts>,
    /// The last response, if it is still expected to be true: neither the node nor an administrator acted since.
    pub(crate) last_reply: Option<Reply>,
}

/// Facts about a node, each of which a response can state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Facts {
    pub(crate) held: bool,
    pub(crate) not_held: bool,
    pub(crate) full: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reply {
    Held,
    NotHeld,
}

impl State {
    /// Makes states equal that differ only in parts that no action reads.
    pub(crate) fn normalize(&mut self) {
        for server in &mut self.servers {
            // No comparison with this revision succeeds.
            if server.protocol.in_doubt == Some(GONE) {
                server.protocol.in_doubt = None;
            }
            // The server reads the value before it uses it.
            if server.protocol.must_read {
                server.known = None;
            }
            // The commit ends in a conflict, whatever the value is.
            if let Some((GONE, value)) = &mut server.known {
                *value = Value::default();
            }
            for (node, endpoint) in &server.waiting {
                let Some(facts) = &mut self.nodes[*node].facts else {
                    continue;
                };
                match endpoint {
                    Endpoint::PreReboot => facts.not_held = false,
                    Endpoint::SteadyState => (facts.held, facts.full) = (false, false),
                }
            }
        }
    }

    /// Sorts the servers. They are interchangeable, so states that differ only in their order are equal.
    pub(crate) fn sort_servers(&mut self) {
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        order.sort_by_key(|index| {
            let Server {
                known,
                protocol,
                waiting,
            } = &self.servers[*index];
            let lock =
                |(node, endpoint): &(usize, Endpoint)| (*node, *endpoint == Endpoint::PreReboot);
            let waiting: Vec<_> = waiting.iter().map(lock).collect();
            (*known, protocol.must_read, protocol.in_doubt, waiting)
        });
        self.servers = order
            .iter()
            .map(|index| self.servers[*index].clone())
            .collect();
        for late in &mut self.late {
            let place = |of| order.iter().position(|index| *index == of);
            late.of = late.of.and_then(place);
        }
        self.late.sort_unstable();
    }

    /// Writes a value unconditionally. The caller has compared the revision.
    pub(crate) fn write(&mut self, value: Value) {
        self.value = value;
        self.revision = CURRENT;
        self.late.clear();
        for server in &mut self.servers {
            if let Some((revision, _)) = &mut server.known {
                *revision = GONE;
            }
            if let Some(revision) = &mut server.protocol.in_doubt {
                *revision = GONE;
            }
        }
        for (node, its) in self.nodes.iter_mut().enumerate() {
            its.facts = its.facts.map(|facts| facts.and(value, node));
        }
    }

    /// Writes a value by the protocol of Airlock.
    pub(crate) fn write_of_ours(&mut self, value: Value) {
        let grants = value.holders & !self.value.holders != 0;
        if grants && u64::from(value.holders.count_ones()) > value.slots {
            self.broken = Some(NEVER_ABOVE_SLOTS);
        }
        self.write(value);
    }

    /// Crashes a server. Its nodes receive no response, and its late writes belong to no server.
    pub(crate) fn crash(&mut self, server: usize) {
        for (node, _) in std::mem::take(&mut self.servers[server]).waiting {
            self.nodes[node].facts = None;
        }
        for late in &mut self.late {
            late.of = late.of.filter(|of| *of != server);
        }
        self.late.sort_unstable();
    }

    /// Handles a request of a node as coreos/airlock does, without a conflict.
    pub(crate) fn coreos_airlock(&mut self, node: usize, endpoint: Endpoint) {
        let value = self.value;
        let grants = u64::from(value.holders.count_ones()) < value.slots;
        let after = match endpoint {
            Endpoint::PreReboot if value.holds(node) || !grants => value,
            Endpoint::PreReboot => value.with(node),
            Endpoint::SteadyState => value.without(node),
        };
        self.nodes[node].last_reply = Some(after.reply(node));
        // coreos/airlock writes even an unchanged value.
        self.write(after);
    }

    /// Applies a batch in order. Between two of its requests the slots may be full although no committed value is.
    pub(crate) fn apply_in_order(&mut self, server: usize, commands: &[Command]) {
        let mut turn = Semaphore::clone(&semaphore(self.value));
        for ((node, _), command) in self.servers[server].waiting.iter().zip(commands) {
            let now = Facts::default().and(Value::of(&turn), *node);
            if let Some(facts) = &mut self.nodes[*node].facts {
                facts.full |= now.full;
            }
            turn.apply(command);
        }
    }

    pub(crate) fn answer(&mut self, server: usize, attempt: Attempt) {
        let answered = self.servers[server].waiting.drain(..attempt.outcomes.len());
        for ((node, _), outcome) in answered.zip(attempt.outcomes) {
            let its = &mut self.nodes[node];
            let facts = its.facts.take().unwrap_or_default();
            let (is_true, reply) = match outcome {
                Outcome::Locked | Outcome::AlreadyHeld => (facts.held, Reply::Held),
                Outcome::Unlocked | Outcome::NotHeld => (facts.not_held, Reply::NotHeld),
                Outcome::Full { .. } => (facts.full, Reply::NotHeld),
            };
            if !is_true {
                self.broken = Some(TRUE_ANSWERS);
            }
            // An earlier request of the node to another server, or to this one before a crash, may still take
            // effect. This server cannot know of it.
            let overtaken = self.late.iter().any(|late| {
                late.of != Some(server) && late.value.holds(node) != self.value.holds(node)
            });
            its.last_reply = (!overtaken).then_some(reply);
        }
    }
}

impl Server {
    pub(crate) fn can_commit(&self) -> bool {
        self.known.is_some() && !self.protocol.must_read
    }
}

impl Facts {
    /// Adds the facts that are true now.
    pub(crate) fn and(self, value: Value, node: usize) -> Self {
        let held = value.holds(node);
        let full = u64::from(value.holders.count_ones()) >= value.slots;
        Facts {
            held: self.held || held,
            not_held: self.not_held || !held,
            full: self.full || (full && !held),
        }
    }
}

impl Value {
    pub(crate) fn holds(self, node: usize) -> bool {
        self.holders & (1 << node) != 0
    }

    pub(crate) fn with(self, node: usize) -> Self {
        let holders = self.holders | (1 << node);
        Value { holders, ..self }
    }

    pub(crate) fn without(self, node: usize) -> Self {
        let holders = self.holders & !(1 << node);
        Value { holders, ..self }
    }

    pub(crate) fn reply(self, node: usize) -> Reply {
        if self.holds(node) {
            Reply::Held
        } else {
            Reply::NotHeld
        }
    }

    pub(crate) fn of(semaphore: &Semaphore) -> Self {
        let ids = semaphore.holders.keys();
        Value {
            slots: semaphore.slots,
            holders: ids.fold(0, |nodes, id| nodes | 1 << (id.as_bytes()[0] - b'a')),
        }
    }
}

pub(crate) fn semaphore(value: Value) -> Arc<Semaphore> {
    let nodes = (0..8).filter(|node| value.holds(*node));
    Arc::new(Semaphore {
        slots: value.slots,
        holders: nodes.map(|node| (name(node).into(), None)).collect(),
    })
}

pub(crate) fn name(node: usize) -> &'static str {
    ["a", "b", "c", "d", "e", "f", "g", "h"][node]
}
