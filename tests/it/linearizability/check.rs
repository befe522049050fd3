//! Is a history linearizable? Its specification is a counting semaphore with a recursive lock.
//!
//! The search goes forward through the history and keeps every state that the semaphore may be in
//! ("just in time" linearization, after Lowe). An operation takes its effect at the latest when it
//! returns; then all ways are tried to have others take theirs before. One whose outcome nobody knows
//! may take its effect at any later time, or never.
//!
//! What keeps the search small: that an open operation might have changed nothing is remembered instead of
//! tried, and a state that is worse than another in every respect is forgotten.

mod tests;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

/// At most 31 nodes and 64 clients in one history.
pub(crate) const MAX_NODES: usize = 31;

/// How many states one step may go through. Many unknown outcomes at once lead to more: then the history
/// cannot be decided, and the test has to ask for less.
const MAX_STATES: usize = 50_000;

/// What a client asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Lock(usize),
    Unlock(usize),
    /// Somebody deletes the key by hand: all are released.
    Delete,
}

/// What it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Yes,
    /// All slots are taken.
    Full,
    /// An error or nothing: it may have happened, now or later.
    Nothing,
}

/// One request of one client. A client has one at a time.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) client: usize,
    pub(crate) request: Request,
    pub(crate) told: Told,
    /// Since the history began.
    pub(crate) invoked: Duration,
    pub(crate) returned: Duration,
}

/// No order of the operations explains what they were told.
#[derive(Debug)]
pub(crate) struct Violation {
    /// The index of the first operation that nothing explains.
    pub(crate) operation: usize,
    /// The holders that were possible before it returned, and what was open.
    pub(crate) possible: Vec<String>,
}

/// One state that the semaphore may be in.
#[derive(Clone, Copy, Debug)]
struct State {
    /// A bit for each node.
    holders: u64,
    /// The clients whose open operation has changed the holders, a bit for each.
    changed: u64,
    /// The clients whose open operation would have changed nothing at some moment, a bit for each.
    idle: u64,
    /// How many of the operations of unknown outcome have changed the holders, by [`kind`].
    spent: [u8; 64],
}

/// What has begun and is not over.
struct Open {
    /// By client; only what was told something.
    told: HashMap<usize, (Request, Told)>,
    /// How many operations of unknown outcome have begun, by [`kind`].
    unknown: [u8; 64],
}

/// Checks a history that began with no holders.
pub(crate) fn check(slots: u32, history: &[Operation]) -> Result<(), Violation> {
    let mut states = vec![State {
        holders: 0,
        changed: 0,
        idle: 0,
        spent: [0; 64],
    }];
    let mut open = Open {
        told: HashMap::new(),
        unknown: [0; 64],
    };
    for (returns, index) in events(history) {
        let Operation {
            client,
            request,
            told,
            ..
        } = history[index];
        match (returns, told) {
            (false, Told::Nothing) => {
                let count = &mut open.unknown[kind(request)];
                *count = count.saturating_add(1);
            }
            (true, Told::Nothing) => {}
            (false, Told::Yes | Told::Full) => {
                open.told.insert(client, (request, told));
            }
            (true, Told::Yes | Told::Full) => {
                let next = explain(&states, client, slots, &open);
                if next.is_empty() {
                    return Err(Violation {
                        operation: index,
                        possible: states.iter().map(ToString::to_string).collect(),
                    });
                }
                open.told.remove(&client);
                states = next;
            }
        }
    }
    Ok(())
}

/// Beginnings and ends in their order: (whether it is an end, which operation).
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

/// All states after the operation of `client` has taken its effect and returned.
fn explain(states: &[State], client: usize, slots: u32, open: &Open) -> Vec<State> {
    let own = 1 << client;
    let mut seen = Best::default();
    let mut explained = Best::default();
    let mut queue: VecDeque<(bool, State)> = states.iter().map(|state| (false, *state)).collect();
    let mut steps = 0;
    while let Some((emitted, mut state)) = queue.pop_front() {
        steps += 1;
        assert!(steps < MAX_STATES, "too many unknown outcomes to decide");
        state.look_around(slots, open);
        if !seen.add(&state) {
            continue;
        }
        let over = state.changed & own != 0;
        let idle = state.idle & own != 0;
        // What others change after this may as well come later: one state of each way is enough.
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

/// The effect of a request on the holders, if it may be told that in this state.
fn apply(holders: u64, request: Request, told: Told, slots: u32) -> Option<u64> {
    match (request, told) {
        (Request::Lock(node), Told::Yes | Told::Nothing) => {
            let locked = holders | 1 << node;
            (locked == holders || holders.count_ones() < slots).then_some(locked)
        }
        (Request::Lock(node), Told::Full) => {
            (holders & 1 << node == 0 && holders.count_ones() >= slots).then_some(holders)
        }
        (Request::Unlock(node), Told::Yes | Told::Nothing) => Some(holders & !(1 << node)),
        (Request::Delete, Told::Yes | Told::Nothing) => Some(0),
        (Request::Unlock(_) | Request::Delete, Told::Full) => None,
    }
}

/// A number for what an operation does.
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
    /// Notes which open operations would change nothing here.
    fn look_around(&mut self, slots: u32, open: &Open) {
        for (client, (request, told)) in &open.told {
            if apply(self.holders, *request, *told, slots) == Some(self.holders) {
                self.idle |= 1 << client;
            }
        }
    }

    /// The states after one more operation has changed this one.
    fn successors(&self, slots: u32, open: &Open) -> Vec<State> {
        let mut next = Vec::new();
        for (client, (request, told)) in &open.told {
            if self.changed & (1 << client) == 0
                && let Some(holders) = apply(self.holders, *request, *told, slots)
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
                && let Some(holders) = apply(self.holders, request(kind), Told::Nothing, slots)
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

    /// Whether everything that is possible from `other`, with the same holders, is possible from here.
    /// An operation that might have been idle may be left at that, or change something yet.
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

/// States of which none covers another.
#[derive(Default)]
struct Best(HashMap<u64, Vec<State>>);

// === impl Best ===

impl Best {
    /// Whether the state is new.
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
