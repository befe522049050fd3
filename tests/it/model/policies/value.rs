//! The content of the store for a group with policies, as small as the search allows.

use std::sync::Arc;

use airlock::lock::codec::Revision;
use airlock::lock::semaphore::Semaphore;
use jiff::Timestamp;

use super::super::state::CURRENT;
use super::super::value::{Nodes, name};

/// A time, in seconds.
pub(super) type Tick = u8;

/// The current time. As time passes, all times move into the past, where 0 stands for all earlier ones.
pub(super) const NOW: Tick = 3;

/// The maximum number of nodes.
pub(super) const NODES: usize = 3;

/// A value at some revision. The value of a group is there from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Content {
    pub(super) revision: Revision,
    pub(super) value: Value,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Value {
    pub(super) holders: Nodes,
    /// The time of the grant of each holder.
    pub(super) since: [Tick; NODES],
    /// The stored time of the latest release.
    pub(super) released: Option<Tick>,
}

impl Content {
    pub(super) fn is_current(self) -> bool {
        self.revision == CURRENT
    }
}

impl Default for Content {
    /// The current content of a group without holders.
    fn default() -> Self {
        Content {
            revision: CURRENT,
            value: Value::default(),
        }
    }
}

impl Value {
    pub(super) fn of(semaphore: &Semaphore) -> Self {
        let mut value = Value {
            released: semaphore.released_at.map(tick),
            ..Value::default()
        };
        for node in 0..NODES {
            if let Some(hold) = semaphore.holders.get(name(node)) {
                value = value.with(node, hold.since.map_or(0, tick));
            }
        }
        value
    }

    pub(super) fn semaphore(self, slots: u64) -> Arc<Semaphore> {
        let nodes = (0..NODES).filter(|node| self.holds(*node));
        Arc::new(Semaphore {
            holders: nodes
                .map(|node| (name(node).into(), Some(time(self.since[node])).into()))
                .collect(),
            released_at: self.released.map(time),
            ..Semaphore::new(slots)
        })
    }

    pub(super) fn holds(self, node: usize) -> bool {
        self.holders & (1 << node) != 0
    }

    /// The number of holders.
    pub(super) fn held(self) -> u64 {
        self.holders.count_ones().into()
    }

    /// The value as a server sees it that knows the times of grants since `seen` only.
    pub(super) fn seen_at(self, seen: Tick) -> Self {
        let since = std::array::from_fn(|node| match self.holds(node) {
            true => self.since[node].max(seen),
            false => 0,
        });
        Value { since, ..self }
    }

    /// The times of grants, those of the holders in `before` as they are there.
    pub(super) fn since_in(self, before: Value) -> [Tick; NODES] {
        std::array::from_fn(|node| match before.holds(node) && self.holds(node) {
            true => before.since[node],
            false => self.since[node],
        })
    }

    pub(super) fn with(mut self, node: usize, since: Tick) -> Self {
        self.holders |= 1 << node;
        self.since[node] = since;
        self
    }

    pub(super) fn without(mut self, node: usize) -> Self {
        self.holders &= !(1 << node);
        self.since[node] = 0;
        self
    }
}

pub(super) fn time(tick: Tick) -> Timestamp {
    Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(tick.into())
}

#[expect(clippy::cast_possible_truncation, reason = "a search has few ticks")]
fn tick(time: Timestamp) -> Tick {
    time.as_second() as Tick
}
