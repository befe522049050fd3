//! A memory store that fails as told: all of {happened, did not} x {answered, timed out}, and late.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use super::memory::MemoryStore;
use super::{Commit, GroupName, Report, Revision, Store, StoreError, Stored, Value};

/// What goes wrong with one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not happen, and the store says so.
    Rejected,
    /// It does not happen, since the store was not reached.
    Unreachable,
    /// It does not happen, and nobody knows.
    RequestLost,
    /// It happens, and nobody knows.
    AnswerLost,
    /// Nobody knows, and it reaches the store only with [`FaultyStore::deliver`].
    Late,
    /// Somebody else writes the same value just before it.
    Raced,
}

/// A call that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Read,
    Confirm,
    Write,
}

/// See the module's documentation. Without faults it is a [`MemoryStore`].
pub struct FaultyStore {
    pub memory: MemoryStore,
    script: Mutex<Script>,
    open: watch::Sender<bool>,
}

#[derive(Default)]
struct Script {
    faults: VecDeque<Fault>,
    always: Option<Fault>,
    calls: Vec<Call>,
    late: Vec<(GroupName, Revision, Value)>,
}

// === impl FaultyStore ===

impl FaultyStore {
    pub fn new() -> Arc<Self> {
        Arc::new(FaultyStore {
            memory: MemoryStore::default(),
            script: Mutex::default(),
            open: watch::Sender::new(true),
        })
    }

    /// The next commits go wrong in this way, one each.
    pub fn next(&self, faults: &[Fault]) {
        self.script().faults.extend(faults);
    }

    /// Every commit goes wrong in this way.
    pub fn always(&self, fault: Fault) {
        self.script().always = Some(fault);
    }

    /// Calls wait from now on, until [`FaultyStore::release`].
    pub fn hold(&self) {
        self.open.send_replace(false);
    }

    pub fn release(&self) {
        self.open.send_replace(true);
    }

    /// The calls since this was last asked, also those that wait.
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.script().calls)
    }

    /// Lets the writes that are late reach the store; what came of them.
    pub async fn deliver(&self) -> Vec<Commit> {
        let late = std::mem::take(&mut self.script().late);
        let mut results = Vec::new();
        for (group, expected, value) in late {
            let result = self.memory.commit(&group, expected, Some(&value)).await;
            results.push(result.unwrap());
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
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
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
        expected: Revision,
        new: Option<&Value>,
    ) -> Result<Commit, StoreError> {
        let call = if new.is_some() {
            Call::Write
        } else {
            Call::Confirm
        };
        self.enter(call).await;
        let unknown = || StoreError::Unknown("timed out".into());
        match self.fault() {
            None => self.memory.commit(group, expected, new).await,
            Some(Fault::Rejected) => Err(StoreError::Rejected("not allowed".into())),
            Some(Fault::Unreachable) => Err(StoreError::Unreachable("no route".into())),
            Some(Fault::RequestLost) => Err(unknown()),
            Some(Fault::AnswerLost) => {
                self.memory.commit(group, expected, new).await?;
                Err(unknown())
            }
            Some(Fault::Late) => {
                let late = new.map(|value| (group.clone(), expected, value.clone()));
                self.script().late.extend(late);
                Err(unknown())
            }
            Some(Fault::Raced) => {
                let current = self.memory.read(group).await?.value;
                self.memory.overwrite(group, current);
                self.memory.commit(group, expected, new).await
            }
        }
    }

    fn place(&self, group: &GroupName) -> String {
        self.memory.place(group)
    }

    async fn follow(&self, groups: &[GroupName], report: &mut Report<'_>) -> StoreError {
        self.memory.follow(groups, report).await
    }
}
