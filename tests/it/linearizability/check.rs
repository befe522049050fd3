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
pub(crate) const MAX_NODES: usize = 24;

/// The maximum of slots that a request may set.
pub(crate) const MAX_SLOTS: u32 = 4;

/// The maximum of states in one step. Many concurrent unknown outcomes may exceed it.
const MAX_STATES: usize = 50_000;

/// A request of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Lock(usize),
    Unlock(usize),
    /// The key is deleted by hand: all holders are unlocked, and the next use creates it with the configured slots.
    Delete,
    /// An administrator sets the number of slots, at most [`MAX_SLOTS`].
    SetSlots(u32),
    /// An administrator pauses the group.
    Pause,
    /// An administrator ends a pause; the group has the configured slots again.
    Resume,
    /// An operator saves a snapshot of the store.
    Snapshot,
    /// An operator restores the latest snapshot, which undoes what happened since.
    Restore,
}

/// The reply to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The request succeeded.
    Yes,
    /// All slots are taken.
    Full,
    /// The holders of other groups leave no room under a cap.
    Capped,
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

/// The result of a check.
#[derive(Debug)]
pub(crate) enum Verdict {
    Linearizable,
    /// There are too many unknown outcomes. The test has to cause fewer of them.
    Undecided,
    Violated(Violation),
}

/// A violation of linearizability: no order of the operations explains their replies.
#[derive(Debug)]
pub(crate) struct Violation {
    /// The index of the first operation that no order explains.
    pub(crate) operation: usize,
    /// The sets of holders that were possible before it returned.
    pub(crate) possible: Vec<String>,
}

/// A semaphore, and the one in the latest snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Semaphore {
    /// The holders, a bit for each node.
    holders: u64,
    slots: u32,
    /// The holders and slots in the snapshot.
    saved: (u64, u32),
}

/// A possible state of the semaphore.
#[derive(Clone, Copy, Debug)]
struct State {
    semaphore: Semaphore,
    /// A bit for each client with an open operation that has changed the semaphore.
    changed: u64,
    /// A bit for each client with an open operation that might have changed nothing at some moment.
    idle: u64,
    /// The number of operations with an unknown outcome that have changed the semaphore, by [`kind`].
    spent: [u8; 64],
}

/// The operations that have begun and not ended.
struct Open {
    /// The operations with a known outcome, by client.
    known: HashMap<usize, (Request, Reply)>,
    /// The number of operations with an unknown outcome that have begun, by [`kind`].
    unknown: [u8; 64],
}

/// Checks a history that starts without holders and with the configured slots.
pub(crate) fn check(slots: u32, history: &[Operation]) -> Verdict {
    let mut states = vec![State {
        semaphore: Semaphore {
            holders: 0,
            slots,
            saved: (0, slots),
        },
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
            (false, Reply::Yes | Reply::Full | Reply::Capped) => {
                open.known.insert(client, (request, reply));
            }
            (true, Reply::Yes | Reply::Full | Reply::Capped) => {
                let Some(next) = explain(&states, client, slots, &open) else {
                    return Verdict::Undecided;
                };
                if next.is_empty() {
                    return Verdict::Violated(Violation {
                        operation: index,
                        possible: states.iter().map(ToString::to_string).collect(),
                    });
                }
                open.known.remove(&client);
                states = next;
            }
        }
    }
    Verdict::Linearizable
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

/// Returns all states after the operation of `client` has taken effect and returned; `None` if they are too many.
fn explain(states: &[State], client: usize, slots: u32, open: &Open) -> Option<Vec<State>> {
    let own = 1 << client;
    let mut seen = Best::default();
    let mut explained = Best::default();
    let mut queue: VecDeque<(bool, State)> = states.iter().map(|state| (false, *state)).collect();
    let mut steps = 0;
    while let Some((emitted, mut state)) = queue.pop_front() {
        steps += 1;
        if steps == MAX_STATES {
            return None;
        }
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
    Some(explained.states())
}

/// Returns the semaphore after a request, or `None` if this reply is impossible in this state.
fn apply(now: Semaphore, request: Request, reply: Reply, configured: u32) -> Option<Semaphore> {
    let (holders, slots) = (now.holders, now.slots);
    if let Reply::Full | Reply::Capped = reply {
        let Request::Lock(node) = request else {
            return None;
        };
        // A holder that asks again is never refused. A cap depends on other groups: `Committed` checks it.
        let is_full = reply == Reply::Capped || holders.count_ones() >= slots;
        return (holders & 1 << node == 0 && is_full).then_some(now);
    }
    let (holders, slots) = match request {
        Request::Lock(node) => {
            let locked = holders | 1 << node;
            if locked != holders && holders.count_ones() >= slots {
                return None;
            }
            (locked, slots)
        }
        Request::Unlock(node) => (holders & !(1 << node), slots),
        Request::Delete => (0, configured),
        Request::SetSlots(slots) => (holders, slots),
        Request::Pause => (holders, 0),
        Request::Resume if slots == 0 => (holders, configured),
        Request::Resume | Request::Snapshot => (holders, slots),
        Request::Restore => now.saved,
    };
    let saved = match request {
        Request::Snapshot => (holders, slots),
        _ => now.saved,
    };
    Some(Semaphore {
        holders,
        slots,
        saved,
    })
}

/// The requests that are no request of a node, in the order of their indices.
const OTHERS: [Request; 5] = [
    Request::Delete,
    Request::Pause,
    Request::Resume,
    Request::Snapshot,
    Request::Restore,
];

/// Returns the index of a request in the arrays of counters.
fn kind(request: Request) -> usize {
    match request {
        Request::Lock(node) => 2 * node,
        Request::Unlock(node) => 2 * node + 1,
        Request::SetSlots(slots) => {
            assert!(slots <= MAX_SLOTS, "too many slots");
            2 * MAX_NODES + OTHERS.len() + slots as usize
        }
        other => {
            let index = OTHERS.iter().position(|known| *known == other);
            2 * MAX_NODES + index.expect("every other request has an index")
        }
    }
}

fn request(kind: usize) -> Request {
    match kind.checked_sub(2 * MAX_NODES) {
        None if kind.is_multiple_of(2) => Request::Lock(kind / 2),
        None => Request::Unlock(kind / 2),
        Some(other) => OTHERS.get(other).copied().unwrap_or_else(|| {
            Request::SetSlots((other - OTHERS.len()).try_into().expect("a small number"))
        }),
    }
}

// === impl Verdict ===

impl Verdict {
    /// Returns the violation, if there is one.
    ///
    /// # Panics
    /// If the history could not be decided.
    pub(crate) fn violation(self) -> Option<Violation> {
        match self {
            Verdict::Linearizable => None,
            Verdict::Undecided => panic!("too many unknown outcomes to decide"),
            Verdict::Violated(violation) => Some(violation),
        }
    }
}

// === impl State ===

impl State {
    /// Records the open operations that would change nothing in this state.
    fn record_idle(&mut self, slots: u32, open: &Open) {
        for (client, (request, reply)) in &open.known {
            if apply(self.semaphore, *request, *reply, slots) == Some(self.semaphore) {
                self.idle |= 1 << client;
            }
        }
    }

    /// Returns the states after one more operation has changed this one.
    fn successors(&self, slots: u32, open: &Open) -> Vec<State> {
        let mut next = Vec::new();
        for (client, (request, reply)) in &open.known {
            if self.changed & (1 << client) == 0
                && let Some(semaphore) = apply(self.semaphore, *request, *reply, slots)
                && semaphore != self.semaphore
            {
                next.push(State {
                    semaphore,
                    changed: self.changed | 1 << client,
                    ..*self
                });
            }
        }
        for (kind, begun) in open.unknown.iter().enumerate() {
            if self.spent[kind] < *begun
                && let Some(semaphore) = apply(self.semaphore, request(kind), Reply::Unknown, slots)
                && semaphore != self.semaphore
            {
                let mut spent = self.spent;
                spent[kind] += 1;
                next.push(State {
                    semaphore,
                    spent,
                    ..*self
                });
            }
        }
        next
    }

    /// Returns whether everything that is possible from `other`, which has the same semaphore, is possible from this
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
        let semaphore = self.semaphore;
        let nodes = (0..64).filter(|node| semaphore.holders & 1 << node != 0);
        let nodes: Vec<_> = nodes.collect();
        write!(f, "{} slots, held by {nodes:?}", semaphore.slots)
    }
}

/// A set of states of which none covers another.
#[derive(Default)]
struct Best(HashMap<Semaphore, Vec<State>>);

// === impl Best ===

impl Best {
    /// Adds a state and returns whether no known state covers it.
    fn add(&mut self, state: &State) -> bool {
        let known = self.0.entry(state.semaphore).or_default();
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
