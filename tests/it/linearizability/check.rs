//! A linearizability checker. The specification is a counting semaphore with a recursive lock.
//!
//! The search goes forward through the history and keeps every state that the semaphore may be in
//! ("just in time" linearization, after Lowe). An operation takes effect at the latest when it returns; at that
//! moment the search tries all orders in which other operations may take effect before it. An operation with an
//! unknown outcome may take effect at any later time, or never.
//!
//! Two rules keep the search small: a state records that an open operation might have changed nothing, instead of
//! branching, and a state that is covered by another one is dropped.

mod tests;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

/// The maximum of nodes in one history. The maximum of clients is 64.
pub(crate) const MAX_NODES: usize = 31;

/// The maximum of states in one step. Many concurrent unknown outcomes may exceed it. Then the history cannot be
/// decided, and the test has to cause fewer of them.
const MAX_STATES: usize = 50_000;

/// A request of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Lock(usize),
    Unlock(usize),
    /// The key is deleted by hand, which unlocks all holders.
    Delete,
}

/// The reply to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The request succeeded.
    Yes,
    /// All slots are taken.
    Full,
    /// An error or no response: the request may take effect now, later or never.
    Unknown,
}

/// One request of one client. A client sends one request at a time.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) client: usize,
    pub(crate) request: Request,
    pub(crate) reply: Reply,
    /// The time since the start of the history, as is `returned`.
    pub(crate) invoked: Duration,
    pub(crate) returned: Duration,
}

/// A violation of linearizability: no order of the operations explains their replies.
#[derive(Debug)]
pub(crate) struct Violation {
    /// The index of the first operation that no order explains.
    pub(crate) operation: usize,
    /// The sets of holders that were possible before it returned.
    pub(crate) possible: Vec<String>,
}

/// A possible state of the semaphore.
#[derive(Clone, Copy, Debug)]
struct State {
    /// The holders, a bit for each node.
    holders: u64,
    /// A bit for each client with an open operation that has changed the holders.
    changed: u64,
    /// A bit for each client with an open operation that might have changed nothing at some moment.
    idle: u64,
    /// The number of operations with an unknown outcome that have changed the holders, by [`kind`].
    spent: [u8; 64],
}

/// The operations that have begun and not ended.
struct Open {
    /// The operations with a known outcome, by client.
    known: HashMap<usize, (Request, Reply)>,
    /// The number of operations with an unknown outcome that have begun, by [`kind`].
    unknown: [u8; 64],
}

/// Checks a history that starts without holders.
pub(crate) fn check(slots: u32, history: &[Operation]) -> Result<(), Violation> {
    let mut states = vec![State {
        holders: 0,
        changed: 0,
        idle: 0,
        spent: [0; 64],
    }];
    let mut open = Open {
        known: HashMap::new(),
        unknown: [0; 64],
    };
    for (returns, index) in events(history) {
        let Operation {
            client,
            request,
            reply,
            ..
        } = history[index];
        match (returns, reply) {
            (false, Reply::Unknown) => {
                let count = &mut open.unknown[kind(request)];
                *count = count.saturating_add(1);
            }
            (true, Reply::Unknown) => {}
            (false, Reply::Yes | Reply::Full) => {
                open.known.insert(client, (request, reply));
            }
            (true, Reply::Yes | Reply::Full) => {
                let next = explain(&states, client, slots, &open);
                if next.is_empty() {
                    return Err(Violation {
                        operation: index,
                        possible: states.iter().map(ToString::to_string).collect(),
                    });
                }
                open.known.remove(&client);
                states = next;
            }
        }
    }
    Ok(())
}

/// Returns the beginnings and ends in their order, as pairs (whether it is an end, index of the operation).
fn events(history: &[Operation]) -> Vec<(bool, usize)> {
    let mut events: Vec<(Duration, bool, usize)> = Vec::new();
    for (index, operation) in history.iter().enumerate() {
        events.push((operation.invoked, false, index));
        events.push((operation.returned, true, index));
    }
    events.sort();
    events
        .into_iter()
        .map(|(_, end, index)| (end, index))
        .collect()
}

/// Returns all states after the operation of `client` has taken effect and returned.
fn explain(states: &[State], client: usize, slots: u32, open: &Open) -> Vec<State> {
    let own = 1 << client;
    let mut seen = Best::default();
    let mut explained = Best::default();
    let mut queue: VecDeque<(bool, State)> = states.iter().map(|state| (false, *state)).collect();
    let mut steps = 0;
    while let Some((emitted, mut state)) = queue.pop_front() {
        steps += 1;
        assert!(steps < MAX_STATES, "too many unknown outcomes to decide");
        state.record_idle(slots, open);
        if !seen.add(&state) {
            continue;
        }
        let over = state.changed & own != 0;
        let idle = state.idle & own != 0;
        // Changes by other operations after this one may as well happen later: one state for each case suffices.
        if over || (idle && !emitted) {
            explained.add(&State {
                changed: state.changed & !own,
                idle: state.idle & !own,
                ..state
            });
        }
        if !over {
            let next = state.successors(slots, open);
            queue.extend(next.into_iter().map(|next| (idle, next)));
        }
    }
    explained.states()
}

/// Returns the holders after a request, or `None` if this reply is impossible in this state.
fn apply(holders: u64, request: Request, reply: Reply, slots: u32) -> Option<u64> {
    match (request, reply) {
        (Request::Lock(node), Reply::Yes | Reply::Unknown) => {
            let locked = holders | 1 << node;
            (locked == holders || holders.count_ones() < slots).then_some(locked)
        }
        (Request::Lock(node), Reply::Full) => {
            (holders & 1 << node == 0 && holders.count_ones() >= slots).then_some(holders)
        }
        (Request::Unlock(node), Reply::Yes | Reply::Unknown) => Some(holders & !(1 << node)),
        (Request::Delete, Reply::Yes | Reply::Unknown) => Some(0),
        (Request::Unlock(_) | Request::Delete, Reply::Full) => None,
    }
}

/// Returns the index of a request in the arrays of counters.
fn kind(request: Request) -> usize {
    match request {
        Request::Lock(node) => 2 * node,
        Request::Unlock(node) => 2 * node + 1,
        Request::Delete => 2 * MAX_NODES,
    }
}

fn request(kind: usize) -> Request {
    match kind {
        kind if kind == 2 * MAX_NODES => Request::Delete,
        kind if kind.is_multiple_of(2) => Request::Lock(kind / 2),
        kind => Request::Unlock(kind / 2),
    }
}

// === impl State ===

impl State {
    /// Records the open operations that would change nothing in this state.
    fn record_idle(&mut self, slots: u32, open: &Open) {
        for (client, (request, reply)) in &open.known {
            if apply(self.holders, *request, *reply, slots) == Some(self.holders) {
                self.idle |= 1 << client;
            }
        }
    }

    /// Returns the states after one more operation has changed this one.
    fn successors(&self, slots: u32, open: &Open) -> Vec<State> {
        let mut next = Vec::new();
        for (client, (request, reply)) in &open.known {
            if self.changed & (1 << client) == 0
                && let Some(holders) = apply(self.holders, *request, *reply, slots)
                && holders != self.holders
            {
                next.push(State {
                    holders,
                    changed: self.changed | 1 << client,
                    ..*self
                });
            }
        }
        for (kind, begun) in open.unknown.iter().enumerate() {
            if self.spent[kind] < *begun
                && let Some(holders) = apply(self.holders, request(kind), Reply::Unknown, slots)
                && holders != self.holders
            {
                let mut spent = self.spent;
                spent[kind] += 1;
                next.push(State {
                    holders,
                    spent,
                    ..*self
                });
            }
        }
        next
    }

    /// Returns whether everything that is possible from `other`, which has the same holders, is possible from this
    /// state. An operation that might have been idle may stay so or still change something.
    fn covers(&self, other: &State) -> bool {
        let over = other.changed | other.idle;
        self.changed & !other.changed == 0
            && over & !self.changed & !self.idle == 0
            && (self.spent.iter().zip(&other.spent)).all(|(own, other)| own <= other)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = (0..64).filter(|node| self.holders & 1 << node != 0);
        write!(f, "held by {:?}", nodes.collect::<Vec<_>>())
    }
}

/// A set of states of which none covers another.
#[derive(Default)]
struct Best(HashMap<u64, Vec<State>>);

// === impl Best ===

impl Best {
    /// Adds a state and returns whether no known state covers it.
    fn add(&mut self, state: &State) -> bool {
        let known = self.0.entry(state.holders).or_default();
        if known.iter().any(|known| known.covers(state)) {
            return false;
        }
        known.retain(|known| !state.covers(known));
        known.push(*state);
        true
    }

    fn states(self) -> Vec<State> {
        self.0.into_values().flatten().collect()
    }
}
