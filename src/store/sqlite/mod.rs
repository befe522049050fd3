//! The embedded store: one SQLite file, for a fleet with one server.
//!
//! One thread owns the writing connection, and runs all waiting jobs in one transaction with one `fsync`. Several
//! processes may use the file at the same time, so that commands work beside a running server.

mod access;
mod connection;
mod continuity;
mod copy;
mod database;
mod error;
mod filesystem;
mod identity;
mod inspect;
mod presence;
mod schema;
mod worker;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use rusqlite::Transaction;
use tokio::sync::{mpsc, oneshot};
use tokio::time;

use super::presence::Published;
use super::{CommitOutcome, Conflict, Location, Member, Report, Store, StoreError, Update};
use crate::lock::GroupName;
use crate::lock::codec::{Stored, Value};
pub(crate) use connection::check;
pub(crate) use copy::{CopyError, Present, Restore, backup, unnamed_backup};
use database::Database;
pub use error::OpenError;
use error::{OpenProblem, SqliteError};
pub(crate) use inspect::inspect;
use presence::OwnDocument;
pub(crate) use schema::Values;
use worker::{Call, Commit, Done, Job, MAX_JOBS, Poll, Then, Worker};

/// The interval at which the file is checked for changes by other processes, and for having been replaced.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// A store in a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    timeout: Duration,
    jobs: mpsc::Sender<Job>,
    presence: Mutex<Option<OwnDocument>>,
}

// === impl SqliteStore ===

impl SqliteStore {
    /// Opens the file, which is created if it does not exist, and starts the thread of the store.
    ///
    /// `timeout` bounds every call. The wait for a transaction of another process is bounded by half of it.
    ///
    /// # Errors
    /// If the file cannot be the store.
    pub fn open(path: &Path, timeout: Duration) -> Result<Self, OpenError> {
        let database = Database::open(path, timeout / 2)?;
        let (jobs, pending) = mpsc::channel(MAX_JOBS);
        let worker = Worker::new(path.to_owned(), database);
        std::thread::Builder::new()
            .name("sqlite".into())
            .spawn(move || worker.run(pending))
            .map_err(|error| OpenError::new(path, OpenProblem::Thread(error)))?;
        Ok(SqliteStore {
            path: path.to_owned(),
            timeout,
            jobs,
            presence: Mutex::default(),
        })
    }

    /// Sends a call to the thread, and waits for its result.
    async fn call(&self, group: &GroupName, then: Then) -> Result<Done, StoreError> {
        let (reply, result) = oneshot::channel();
        let job = Job::Call(Call {
            group: group.clone(),
            then,
            reply,
        });
        self.run(job, result).await
    }

    /// Has the thread execute `work` in a transaction of its own, which changes no group.
    async fn transact<T: Send + 'static>(
        &self,
        writes: bool,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, result) = oneshot::channel();
        let job = Job::Other(Box::new(move |worker| {
            // Sending fails if the caller no longer waits, which is not an error.
            let _ = reply.send(worker.other(writes, work));
        }));
        self.run(job, result).await
    }

    /// Sends a job to the thread, and waits for its result.
    async fn run<T>(
        &self,
        job: Job,
        result: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let reply = async {
            if self.jobs.send(job).await.is_err() {
                return Err(StoreError::rejected(self.thread_ended()));
            }
            let ended = |_| Err(StoreError::unknown(self.thread_ended()));
            result.await.unwrap_or_else(ended)
        };
        time::timeout(self.timeout, reply)
            .await
            .unwrap_or_else(|_| {
                Err(StoreError::unknown(SqliteError::Timeout {
                    path: self.path.clone(),
                    timeout: self.timeout,
                }))
            })
    }

    fn thread_ended(&self) -> SqliteError {
        let path = self.path.clone();
        SqliteError::ThreadEnded { path }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn read(&self, group: &GroupName) -> Result<Stored, StoreError> {
        Ok(self.call(group, Then::Nothing).await?.current)
    }

    async fn commit(
        &self,
        group: &GroupName,
        expected: &Stored,
        new: Option<&Value>,
        also: &[Member<'_>],
    ) -> Result<CommitOutcome, StoreError> {
        let (expected, new) = (expected.clone(), new.cloned());
        let also = also.iter().map(Member::owned).collect();
        let commit = Then::Commit(Commit {
            expected,
            new,
            also,
        });
        let done = self.call(group, commit).await?;
        Ok(match done.committed {
            Some(revision) => CommitOutcome::Committed(revision),
            None => CommitOutcome::Conflict(Conflict {
                current: done.current,
                members: done.members,
            }),
        })
    }

    async fn check_writable(&self, group: &GroupName) -> Result<(), StoreError> {
        self.call(group, Then::Touch).await?;
        Ok(())
    }

    fn location(&self, group: &GroupName) -> Location {
        schema::location(&self.path, group)
    }

    async fn groups(&self) -> Result<Vec<GroupName>, StoreError> {
        self.transact(false, schema::groups).await
    }

    async fn publish(&self, server: &str, document: &str) -> Result<(), StoreError> {
        let own = {
            let mut latest = self.presence.lock();
            let latest = &mut *latest;
            if let Some(own) = latest
                && own.is_current(server, document)
            {
                return Ok(());
            }
            latest
                .insert(OwnDocument {
                    server: server.to_owned(),
                    document: document.to_owned(),
                    at: None,
                })
                .clone()
        };
        self.transact(true, move |transaction| {
            presence::publish(transaction, &own)
        })
        .await?;
        if let Some(own) = &mut *self.presence.lock() {
            own.at = Some(Instant::now());
        }
        Ok(())
    }

    async fn withdraw(&self, _server: &str) -> Result<(), StoreError> {
        let own = self.presence.lock().take();
        let Some(own) = own else {
            return Ok(());
        };
        self.transact(true, move |transaction| {
            presence::withdraw(transaction, &own)
        })
        .await
    }

    async fn published(&self) -> Result<Vec<Published>, StoreError> {
        self.transact(false, presence::published).await
    }

    async fn watch(&self, groups: &[GroupName], report: &mut Report<'_>) -> StoreError {
        let mut poll = time::interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut known = None;
        loop {
            poll.tick().await;
            let (reply, result) = oneshot::channel();
            let job = Job::Poll(Poll {
                known,
                groups: groups.to_vec(),
                reply,
            });
            match self.run(job, result).await {
                Ok(found) => {
                    known = Some(found.version);
                    for (group, stored) in found.values {
                        report(&group, Update::Current(stored));
                    }
                }
                Err(error) => return error,
            }
        }
    }
}

#[cfg(test)]
mod tests;
