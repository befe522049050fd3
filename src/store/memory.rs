//! A store in the memory of this process, for tests.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::presence::{Liveness, Published};
use super::{CommitOutcome, Conflict, Location, Member, Report, Store, StoreError, Update};
use crate::lock::GroupName;
use crate::lock::codec::{Revision, Stored, Value};

/// A store that keeps its values in a map, with one revision counter for all groups.
#[derive(Debug)]
pub struct MemoryStore {
    content: Mutex<Content>,
    /// The revision of the last write, for watches.
    written: watch::Sender<i64>,
    servers: Mutex<BTreeMap<String, Published>>,
}

/// The values of all groups, with one revision counter.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// The revision of the last write.
    pub(crate) clock: i64,
    values: BTreeMap<GroupName, (Revision, Value)>,
}

/// The error of a watch after its store was dropped.
#[derive(Debug, thiserror::Error)]
#[error("the memory store was dropped")]
struct Dropped;

// === impl MemoryStore ===

impl Default for MemoryStore {
    fn default() -> Self {
        MemoryStore {
            content: Mutex::default(),
            written: watch::Sender::new(0),
            servers: Mutex::default(),
        }
    }
}

impl MemoryStore {
    /// Writes a value unconditionally, as another program or an administrator would. `None` deletes the value.
    pub fn overwrite(&self, group: &GroupName, value: Option<Value>) {
        let mut content = self.lock();
        content.write(group, value);
        self.written.send_replace(content.clock);
    }

    /// Returns all values, to be restored later.
    pub fn backup(&self) -> Content {
        self.lock().clone()
    }

    /// Replaces all values and the revision counter, as an operator does who restores a backup of etcd.
    pub fn restore(&self, backup: Content) {
        let mut content = self.lock();
        *content = backup;
        self.written.send_replace(content.clock);
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn read(&self, group: &GroupName) -> Result<Stored, StoreError> {
        Ok(self.lock().stored(group))
    }

    async fn commit(
        &self,
        group: &GroupName,
        expected: &Stored,
        new: Option<&Value>,
        also: &[Member<'_>],
    ) -> Result<CommitOutcome, StoreError> {
        let mut content = self.lock();
        if let Some(conflict) = content.conflict(group, expected, also) {
            return Ok(CommitOutcome::Conflict(conflict));
        }
        if let Some(value) = new {
            content.write(group, Some(value.clone()));
            self.written.send_replace(content.clock);
        }
        Ok(CommitOutcome::Committed(content.stored(group).revision))
    }

    async fn check_writable(&self, _: &GroupName) -> Result<(), StoreError> {
        Ok(())
    }

    fn location(&self, group: &GroupName) -> Location {
        Location {
            description: format!("group {group} in memory"),
            repair_command: "MemoryStore::overwrite".into(),
        }
    }

    async fn groups(&self) -> Result<Vec<GroupName>, StoreError> {
        Ok(self.lock().values.keys().cloned().collect())
    }

    async fn publish(&self, server: &str, document: &str) -> Result<(), StoreError> {
        let published = Published {
            server: server.to_owned(),
            document: document.into(),
            liveness: Liveness::Alive,
        };
        let mut servers = self.servers.lock();
        servers.insert(server.to_owned(), published);
        Ok(())
    }

    async fn withdraw(&self, server: &str) -> Result<(), StoreError> {
        self.servers.lock().remove(server);
        Ok(())
    }

    async fn published(&self) -> Result<Vec<Published>, StoreError> {
        Ok(self.servers.lock().values().cloned().collect())
    }

    async fn watch(&self, groups: &[GroupName], report: &mut Report<'_>) -> StoreError {
        let mut written = self.written.subscribe();
        let mut known: HashMap<&GroupName, Stored> = HashMap::new();
        loop {
            written.borrow_and_update();
            for group in groups {
                let stored = self.lock().stored(group);
                let changed = known
                    .get(group)
                    .is_none_or(|known| known.revision != stored.revision);
                if changed {
                    known.insert(group, stored.clone());
                    report(group, Update::Current(stored));
                }
            }
            if written.changed().await.is_err() {
                return StoreError::unreachable(Dropped);
            }
        }
    }
}

// === impl Content ===

impl Content {
    pub(crate) fn stored(&self, group: &GroupName) -> Stored {
        let as_of = Revision(self.clock);
        match self.values.get(group) {
            Some((revision, value)) => Stored {
                revision: *revision,
                value: Some(value.clone()),
                as_of,
            },
            None => Stored::absent(as_of),
        }
    }

    /// Returns the conflict of a commit with the current contents, if there is one.
    pub(crate) fn conflict(
        &self,
        group: &GroupName,
        expected: &Stored,
        also: &[Member<'_>],
    ) -> Option<Conflict> {
        let conflict = Conflict {
            current: self.stored(group),
            members: also
                .iter()
                .map(|member| self.stored(member.group))
                .collect(),
        };
        let mut members = also.iter().zip(&conflict.members);
        let is_current = expected.is_still(&conflict.current)
            && members.all(|(member, current)| member.is_still(current));
        (!is_current).then_some(conflict)
    }

    /// Writes or deletes a value, and returns the revision of the write.
    pub(crate) fn write(&mut self, group: &GroupName, value: Option<Value>) -> Revision {
        self.clock += 1;
        let revision = Revision(self.clock);
        match value {
            Some(value) => self.values.insert(group.clone(), (revision, value)),
            None => self.values.remove(group),
        };
        revision
    }
}
