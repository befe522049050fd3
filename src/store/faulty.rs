//! A memory store with scripted faults: every combination of {took effect, had no effect} and {reply, timeout}, and
//! late writes.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::memory::MemoryStore;
use super::{CommitOutcome, Location, Member, OwnedMember, Report, Store, StoreError};
use crate::lock::GroupName;
use crate::lock::codec::{Stored, Value};

/// A fault of one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The commit has no effect, and the store says so.
    Rejected,
    /// The store has no space for the write, which has no effect.
    NoSpace,
    /// The store has no space for the write, but it takes effect.
    NoSpaceApplied,
    /// The commit has no effect, because the store is unreachable.
    Unreachable,
    /// The commit has no effect, and its outcome is unknown.
    RequestLost,
    /// The commit takes effect, and its outcome is unknown.
    AnswerLost,
    /// The outcome of the commit is unknown, and it reaches the store only with [`FaultyStore::deliver`].
    Late,
    /// Another writer writes the same value just before the commit.
    Raced,
}

/// A call to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Read,
    Confirm,
    Write,
}

/// A [`MemoryStore`] with scripted faults.
pub(crate) struct FaultyStore {
    pub(crate) memory: MemoryStore,
    script: Mutex<Script>,
    open: watch::Sender<bool>,
}

#[derive(Default)]
struct Script {
    faults: VecDeque<Fault>,
    always: Option<Fault>,
    calls: Vec<Call>,
    late: Vec<Late>,
}

/// A write that has not reached the store yet.
struct Late {
    group: GroupName,
    expected: Stored,
    value: Value,
    also: Vec<OwnedMember>,
}

/// The error of an injected fault.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Injected(pub(super) &'static str);

// === impl FaultyStore ===

impl FaultyStore {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(FaultyStore {
            memory: MemoryStore::default(),
            script: Mutex::default(),
            open: watch::Sender::new(true),
        })
    }

    /// Schedules faults for the next commits, one for each.
    pub(crate) fn next(&self, faults: &[Fault]) {
        self.script().faults.extend(faults);
    }

    /// Schedules a fault for every commit that has no other one; `None`: none.
    pub(crate) fn always(&self, fault: impl Into<Option<Fault>>) {
        self.script().always = fault.into();
    }

    /// Blocks all calls from now on, until [`FaultyStore::release`].
    pub(crate) fn hold(&self) {
        self.open.send_replace(false);
    }

    /// Lets blocked calls continue.
    pub(crate) fn release(&self) {
        self.open.send_replace(true);
    }

    /// Returns the calls since the last time, including blocked ones.
    pub(crate) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.script().calls)
    }

    /// Delivers late writes to the store, and returns their outcomes.
    pub(crate) async fn deliver(&self) -> Vec<CommitOutcome> {
        let late = std::mem::take(&mut self.script().late);
        let mut results = Vec::new();
        for late in late {
            let also: Vec<_> = late.also.iter().map(OwnedMember::borrowed).collect();
            let new = Some(&late.value);
            let result = self.memory.commit(&late.group, &late.expected, new, &also);
            results.push(result.await.unwrap());
        }
        results
    }

    async fn enter(&self, call: Call) {
        self.script().calls.push(call);
        let mut open = self.open.subscribe();
        // The sender lives as long as the store.
        let _ = open.wait_for(|open| *open).await;
    }

    fn fault(&self) -> Option<Fault> {
        let mut script = self.script();
        script.faults.pop_front().or(script.always)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock()
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn read(&self, group: &GroupName) -> Result<Stored, StoreError> {
        self.enter(Call::Read).await;
        self.memory.read(group).await
    }

    async fn commit(
        &self,
        group: &GroupName,
        expected: &Stored,
        new: Option<&Value>,
        also: &[Member<'_>],
    ) -> Result<CommitOutcome, StoreError> {
        let call = if new.is_some() {
            Call::Write
        } else {
            Call::Confirm
        };
        self.enter(call).await;
        let no_space = || StoreError::no_space(Injected("no space"));
        let unknown = || StoreError::unknown(Injected("timed out"));
        match self.fault() {
            None => self.memory.commit(group, expected, new, also).await,
            Some(Fault::Rejected) => Err(StoreError::rejected(Injected("not allowed"))),
            Some(Fault::NoSpace) => Err(no_space()),
            Some(Fault::NoSpaceApplied) => {
                self.memory.commit(group, expected, new, also).await?;
                Err(no_space())
            }
            Some(Fault::Unreachable) => Err(StoreError::unreachable(Injected("no route"))),
            Some(Fault::RequestLost) => Err(unknown()),
            Some(Fault::AnswerLost) => {
                self.memory.commit(group, expected, new, also).await?;
                Err(unknown())
            }
            Some(Fault::Late) => {
                let late = new.map(|value| Late {
                    group: group.clone(),
                    expected: expected.clone(),
                    value: value.clone(),
                    also: also.iter().map(Member::owned).collect(),
                });
                self.script().late.extend(late);
                Err(unknown())
            }
            Some(Fault::Raced) => {
                let current = self.memory.read(group).await?.value;
                self.memory.overwrite(group, current);
                self.memory.commit(group, expected, new, also).await
            }
        }
    }

    async fn check_writable(&self, group: &GroupName) -> Result<(), StoreError> {
        self.memory.check_writable(group).await
    }

    fn location(&self, group: &GroupName) -> Location {
        self.memory.location(group)
    }

    async fn watch(&self, groups: &[GroupName], report: &mut Report<'_>) -> StoreError {
        self.memory.watch(groups, report).await
    }
}
