//! The state of a fleet: what is real, and what is only remembered to judge it.

use std::sync::Arc;

use airlock::fleetlock::Endpoint;
use airlock::group::protocol::{Attempt, Protocol};
use airlock::semaphore::{Command, Outcome, Semaphore};
use airlock::store::Revision;

use super::fleet::{NEVER_ABOVE_SLOTS, TRUE_ANSWERS};

/// A set of nodes, one bit each.
pub(crate) type Nodes = u8;

/// A revision that is gone: no comparison with it succeeds any more, so they are all alike. That holds
/// since nobody deletes the value here.
pub(crate) const GONE: Revision = Revision(1);
/// The current revision, once there is a value.
pub(crate) const CURRENT: Revision = Revision(2);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) revision: Revision,
    pub(crate) value: Value,
    /// Writes under way that nobody waits for, and that can still happen.
    pub(crate) late: Vec<Late>,
    pub(crate) servers: Vec<Server>,
    pub(crate) nodes: Vec<Node>,
    /// The property that the last step broke.
    pub(crate) broken: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Value {
    pub(crate) slots: u64,
    pub(crate) holders: Nodes,
}

/// A write on top of the current revision, and the server that fears it; none if that has crashed.
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
    /// While it waits: what was so at some moment since it asked.
    pub(crate) seen: Option<Seen>,
    /// What it was told last, if it has asked nothing since and nobody has interfered.
    pub(crate) told: Option<Told>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    pub(crate) held: bool,
    pub(crate) free: bool,
    pub(crate) full: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Told {
    Held,
    NotHeld,
}

impl State {
    /// Makes states alike that differ only in what nothing will ever look at.
    pub(crate) fn forget_what_cannot_matter(&mut self) {
        for server in &mut self.servers {
            // No comparison with it succeeds.
            if server.protocol.in_doubt == Some(GONE) {
                server.protocol.in_doubt = None;
            }
            // It is read again before it is used.
            if server.protocol.must_read {
                server.known = None;
            }
            // Its comparison is lost, and whatever it says with it.
            if let Some((GONE, value)) = &mut server.known {
                *value = Value::default();
            }
            for (node, endpoint) in &server.waiting {
                let Some(seen) = &mut self.nodes[*node].seen else {
                    continue;
                };
                match endpoint {
                    Endpoint::PreReboot => seen.free = false,
                    Endpoint::SteadyState => (seen.held, seen.full) = (false, false),
                }
            }
        }
    }

    /// Servers are all alike: states that differ only in which one is which are one.
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

    /// A write that nobody compares with anything; whoever calls has.
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
            its.seen = its.seen.map(|seen| seen.and(value, node));
        }
    }

    /// A write of our own protocol.
    pub(crate) fn write_of_ours(&mut self, value: Value) {
        let grants = value.holders & !self.value.holders != 0;
        if grants && u64::from(value.holders.count_ones()) > value.slots {
            self.broken = Some(NEVER_ABOVE_SLOTS);
        }
        self.write(value);
    }

    /// Within a batch the slots may be full at one node's turn, though no committed value is.
    pub(crate) fn take_turns(&mut self, server: usize, commands: &[Command]) {
        let mut turn = Semaphore::clone(&semaphore(self.value));
        for ((node, _), command) in self.servers[server].waiting.iter().zip(commands) {
            let now = Seen::default().and(Value::of(&turn), *node);
            if let Some(seen) = &mut self.nodes[*node].seen {
                seen.full |= now.full;
            }
            turn.apply(command);
        }
    }

    pub(crate) fn answer(&mut self, server: usize, attempt: Attempt) {
        let answered = self.servers[server].waiting.drain(..attempt.outcomes.len());
        for ((node, _), outcome) in answered.zip(attempt.outcomes) {
            let its = &mut self.nodes[node];
            let seen = its.seen.take().unwrap_or_default();
            let (is_true, told) = match outcome {
                Outcome::Locked | Outcome::AlreadyHeld => (seen.held, Told::Held),
                Outcome::Unlocked | Outcome::NotHeld => (seen.free, Told::NotHeld),
                Outcome::Full { .. } => (seen.full, Told::NotHeld),
            };
            if !is_true {
                self.broken = Some(TRUE_ANSWERS);
            }
            // What it asked of another server, or of this one before a crash, and then did not wait for, may
            // still come true: nobody here can know of it.
            let overtaken = self.late.iter().any(|late| {
                late.of != Some(server) && late.value.holds(node) != self.value.holds(node)
            });
            its.told = (!overtaken).then_some(told);
        }
    }
}

impl Server {
    pub(crate) fn can_commit(&self) -> bool {
        self.known.is_some() && !self.protocol.must_read
    }
}

impl Seen {
    /// And what is so now.
    pub(crate) fn and(self, value: Value, node: usize) -> Self {
        let held = value.holds(node);
        let full = u64::from(value.holders.count_ones()) >= value.slots;
        Seen {
            held: self.held || held,
            free: self.free || !held,
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

    pub(crate) fn told(self, node: usize) -> Told {
        if self.holds(node) {
            Told::Held
        } else {
            Told::NotHeld
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
