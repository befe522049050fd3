//! The content of the store, as small as the search allows.

use std::sync::Arc;

use airlock::lock::codec::Revision;
use airlock::lock::holders::Hold;
use airlock::lock::semaphore::Semaphore;

/// A set of nodes, one bit for each.
pub(crate) type Nodes = u8;

/// The content of the store for the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Content {
    pub(crate) revision: Revision,
    /// `None` if and only if the revision is [`Revision::ABSENT`].
    pub(crate) value: Option<Value>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Value {
    pub(crate) slots: u64,
    pub(crate) holders: Nodes,
    /// Whether the audit log contains the entry of the administrator's command.
    pub(crate) entry: bool,
    /// Whether it contains the entry of an earlier command.
    pub(crate) earlier: bool,
}

impl Content {
    pub(crate) const ABSENT: Content = Content {
        revision: Revision::ABSENT,
        value: None,
    };

    /// Reports whether a commit that expects `expected` finds it. A faulty store compares only the revisions.
    pub(crate) fn is_still(self, expected: Content, compares_bytes: bool) -> bool {
        self.revision == expected.revision && (!compares_bytes || self.value == expected.value)
    }

    /// Returns the value. An absent one counts as the one that the first use would create.
    pub(crate) fn or_empty(self, slots: u64) -> Value {
        self.value.unwrap_or(Value {
            slots,
            ..Value::default()
        })
    }

    pub(crate) fn holds(self, node: usize) -> bool {
        self.value.is_some_and(|value| value.holds(node))
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

    /// Returns the value with another semaphore.
    pub(crate) fn replaced_by(self, semaphore: &Semaphore) -> Self {
        let ids = semaphore.holders.keys();
        Value {
            slots: semaphore.slots,
            holders: ids.fold(0, |nodes, id| nodes | 1 << (id.as_bytes()[0] - b'a')),
            ..self
        }
    }

    pub(crate) fn semaphore(self) -> Arc<Semaphore> {
        let nodes = (0..8).filter(|node| self.holds(*node));
        Arc::new(Semaphore {
            holders: nodes
                .map(|node| (name(node).into(), Hold::default()))
                .collect(),
            ..Semaphore::new(self.slots)
        })
    }
}

pub(crate) fn name(node: usize) -> &'static str {
    ["a", "b", "c", "d", "e", "f", "g", "h"][node]
}
