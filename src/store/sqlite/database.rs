//! The connections of the store, and whether they can be trusted.
//!
//! The files can be moved, deleted, replaced or overwritten while SQLite has them open. Their identity is compared before
//! each write and after each transaction. If it has changed, both connections are closed, and the files that are now in
//! place are used only if they contain everything that this process has seen.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::access::protect;
use super::connection::{self, MAX_WAL_BYTES, leave_files_on_close};
use super::continuity::{Clock, Discontinuity, Memory};
use super::error::{OpenError, OpenProblem, Refusal, SqliteError, Unsuitable};
use super::identity::{FileChange, FileIdentity, FilePaths, is_missing};
use super::schema;
use crate::lock::codec::Revision;

/// The databases that this process has open.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// An open database.
#[derive(Debug)]
pub(super) struct Database {
    paths: FilePaths,
    busy_timeout: Duration,
    /// `None`: closed, because the files have changed.
    connections: Option<Connections>,
    /// The files that were open last.
    last: FileIdentity,
    /// The last change of the files, which explains why the database is closed.
    change: Option<FileChange>,
    /// The number of times that it was opened.
    pub(super) opened: u64,
    pub(super) memory: Memory,
}

/// The connections to the same files.
#[derive(Debug)]
pub(super) struct Connections {
    /// The connection of all writes.
    pub(super) writer: Connection,
    /// A connection that writes nothing, because `data_version` ignores changes by the connection itself.
    pub(super) watcher: Connection,
    identity: FileIdentity,
    /// The size of the write-ahead log, which only a checkpoint of this process may reduce, at the last check.
    wal_bytes: u64,
}

/// The reason why the database cannot be used.
#[derive(Debug)]
pub(super) enum Unusable {
    /// An error of SQLite.
    Sqlite(rusqlite::Error),
    /// The files have changed.
    Changed(Box<SqliteError>),
}

// === impl Database ===

impl Database {
    /// Opens the file, which is created if it does not exist.
    pub(super) fn open(path: &Path, busy_timeout: Duration) -> Result<Self, OpenError> {
        let open = || {
            if OPEN.load(Ordering::SeqCst) == 0 {
                connection::prepare_file(path)?;
            }
            let paths = FilePaths::of(path).map_err(OpenProblem::NotReadable)?;
            let before = FileIdentity::read(&paths).map_err(OpenProblem::NotReadable)?;
            let writer = connection::open(&paths, busy_timeout)?;
            let watcher = connection::open(&paths, busy_timeout)?;
            let identity = FileIdentity::read(&paths).map_err(OpenProblem::NotReadable)?;
            if !before.is_same_database(&identity) {
                return Err(OpenProblem::Moved.into());
            }
            OPEN.fetch_add(1, Ordering::SeqCst);
            Ok(Database {
                paths,
                busy_timeout,
                last: identity.clone(),
                connections: Some(Connections {
                    writer,
                    watcher,
                    identity,
                    wal_bytes: 0,
                }),
                change: None,
                opened: 1,
                memory: Memory::default(),
            })
        };
        open().map_err(|error: Unsuitable| error.into_error(path))
    }

    /// Returns the connections, and what was seen through them, after a check of the files.
    pub(super) fn connections(&mut self) -> Result<(&mut Connections, &mut Memory), Unusable> {
        self.connections_after(Connections::check)
    }

    /// The same for reads that [`Database::confirm`] verifies. Only the database is checked, because a read changes no file,
    /// and each check costs about 3 % of the shortest request.
    pub(super) fn connections_to_read(
        &mut self,
    ) -> Result<(&mut Connections, &mut Memory), Unusable> {
        self.connections_after(|open, paths| open.identity.check_database(paths))
    }

    fn connections_after(
        &mut self,
        check: impl FnOnce(&mut Connections, &FilePaths) -> Result<(), FileChange>,
    ) -> Result<(&mut Connections, &mut Memory), Unusable> {
        let open = self.connections.as_mut();
        if let Some(Err(change)) = open.map(|open| check(open, &self.paths)) {
            self.close(change);
        }
        let open = match self.connections.take() {
            Some(open) => open,
            None => self.reopen()?,
        };
        Ok((self.connections.insert(open), &mut self.memory))
    }

    /// Verifies after a transaction, which found or left the clock in this state, that the files are still the same, or
    /// that those in place contain it. Returns whether it is their present state: what a read found may be outdated.
    pub(super) fn confirm(&mut self, clock: &Clock) -> Result<bool, Unusable> {
        let opened = self.opened;
        self.connections()?;
        // Without a change, the transaction itself is the proof.
        if self.opened == opened {
            return Ok(true);
        }
        let (open, _) = self.connections()?;
        let now = schema::clock(&open.watcher.transaction()?)?;
        match clock.check_continued_by(&now, true) {
            Ok(()) => Ok(now == *clock),
            Err(reason) => Err(self.distrust(reason)),
        }
    }

    /// Closes the database because its contents are not a continuation of those that were seen.
    pub(super) fn distrust(&mut self, reason: Discontinuity) -> Unusable {
        let change = FileChange::Contents(self.paths.database.clone());
        self.close(change.clone());
        self.changed(Refusal::Discontinuity(reason))
    }

    /// Copies the write-ahead log into the database, so that the database alone is complete.
    pub(super) fn copy_log(&mut self) {
        if self.checkpoint("PASSIVE")
            && let Some(open) = &mut self.connections
        {
            open.identity.accept_checkpoint(&self.paths);
        }
    }

    /// Empties a write-ahead log that [`Database::copy_log`] has copied.
    ///
    /// SUBTLE: this does not write the database, so a change of it is not accepted. If there was something left to copy,
    /// the change is taken for one by another program, and the database is verified.
    pub(super) fn empty_log(&mut self) {
        self.checkpoint("TRUNCATE");
    }

    /// Copies a large write-ahead log into the database without waiting for a poll.
    pub(super) fn limit_log(&mut self) {
        let open = self.connections.as_ref();
        if open.is_some_and(|open| open.wal_bytes > u64::from(MAX_WAL_BYTES)) {
            self.copy_log();
        }
    }

    /// Makes a checkpoint if there is something to copy or to empty. Returns whether it succeeded.
    ///
    /// SUBTLE: [`Database::copy_log`] accepts the size and the times that the database has afterwards. Therefore they are
    /// checked immediately before. A change by another program during the checkpoint cannot be noticed.
    fn checkpoint(&mut self, mode: &str) -> bool {
        let Some(open) = &mut self.connections else {
            return false;
        };
        if open.wal_bytes == 0 || open.identity.check_database(&self.paths).is_err() {
            return false;
        }
        let result = open.checkpoint(mode);
        let restored = open.writer.busy_timeout(self.busy_timeout);
        match result.and(restored) {
            Ok(()) => {
                open.wal_bytes = self.paths.wal_bytes();
                true
            }
            Err(error) => {
                tracing::debug!(reason = %error, "the write-ahead log was not copied into the database");
                false
            }
        }
    }

    /// Closes the connections after a change of the files, without touching the files that are in place now.
    fn close(&mut self, change: FileChange) {
        if let Some(mut open) = self.connections.take() {
            self.last = open.identity.clone();
            if open.identity.has_lost_only_deleted_sidecars(&self.paths)
                && let Err(error) = open.rescue(&self.paths)
            {
                tracing::debug!(reason = %error, "the deleted write-ahead log was not copied into the database");
            }
            for connection in [&open.writer, &open.watcher] {
                // It fails only if the library does not know the setting.
                let _ = leave_files_on_close(connection);
            }
        }
        self.change = Some(change);
    }

    /// Opens the files that are in place now, and verifies that they contain everything that was seen.
    fn reopen(&mut self) -> Result<Connections, Unusable> {
        // A link may name another file now.
        if let Ok(paths) = FilePaths::of(&self.paths.database) {
            self.paths = paths;
        }
        let open = self.try_reopen().map_err(|reason| match reason {
            ReopenError::Sqlite(error) if connection::is_busy(&error) => Unusable::Sqlite(error),
            ReopenError::Sqlite(error) => {
                self.changed(Refusal::sqlite(&self.paths.database, error))
            }
            ReopenError::Refusal(refusal) => self.changed(refusal),
        })?;
        self.opened += 1;
        match self.change.take() {
            // Another process that uses the store does both.
            Some(change @ (FileChange::Overwritten(_) | FileChange::Truncated(_))) => {
                tracing::debug!(%change, "all locks are still in the store");
            }
            Some(change) => tracing::warn!(%change, "all locks are still in the store"),
            None => {}
        }
        Ok(open)
    }

    fn try_reopen(&self) -> Result<Connections, ReopenError> {
        let path = &self.paths.database;
        let missing = |error| match is_missing(&error) {
            true => Refusal::Missing,
            false => Refusal::Unreadable(error),
        };
        let file = path.metadata().map_err(missing)?;
        // SQLite would delete the write-ahead log of an empty database.
        if !file.is_file() || file.len() == 0 {
            return Err(Refusal::Empty.into());
        }
        let before = FileIdentity::read(&self.paths).map_err(missing)?;
        // SQLite would apply the log to any file beside it.
        if !before.is_same_database(&self.last) && self.paths.wal_bytes() > 0 {
            return Err(Refusal::OrphanedLog(self.paths.wal.clone()).into());
        }
        let open = || connection::open_untrusted(path, self.busy_timeout);
        let (mut writer, mut watcher) = (open()?, open()?);
        // In a file that stayed in place, other processes may have written any number of times.
        self.verify(&mut watcher, !before.is_same_database(&self.last))?;
        if before.check_database(&self.paths).is_err() {
            return Err(Refusal::Problem(OpenProblem::Moved).into());
        }
        protect(&self.paths).map_err(Refusal::Problem)?;
        connection::trust(&mut writer)?;
        connection::trust(&mut watcher)?;
        let identity = FileIdentity::read(&self.paths).map_err(missing)?;
        if !identity.is_same_database(&before) {
            return Err(Refusal::Problem(OpenProblem::Moved).into());
        }
        Ok(Connections {
            writer,
            watcher,
            identity,
            wal_bytes: 0,
        })
    }

    /// Verifies that the file is intact and contains everything that was seen.
    fn verify(&self, connection: &mut Connection, strict: bool) -> Result<(), ReopenError> {
        if let Some(damage) = schema::damage(connection, "quick_check")? {
            return Err(Refusal::Damaged(damage).into());
        }
        if !schema::has_tokens(connection)? {
            return Err(Discontinuity::Diverged.into());
        }
        let transaction = connection.transaction()?;
        let clock = schema::clock(&transaction)?;
        self.memory.check_clock(&clock, strict)?;
        for group in self.memory.groups() {
            let stored = schema::select(&transaction, group, Revision(clock.revision))?;
            self.memory.check_group(group, &stored)?;
        }
        Ok(())
    }

    fn changed(&self, refusal: Refusal) -> Unusable {
        let path = || FileChange::Contents(self.paths.database.clone());
        Unusable::Changed(Box::new(SqliteError::Changed {
            change: self.change.clone().unwrap_or_else(path),
            refusal,
        }))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Nothing is written if the files are not those that SQLite has open.
        let open = self.connections.as_mut();
        if let Some(Err(change)) = open.map(|open| open.check(&self.paths)) {
            self.close(change);
        }
        self.connections = None;
        OPEN.fetch_sub(1, Ordering::SeqCst);
    }
}

// === impl Connections ===

impl Connections {
    /// Verifies that the files are those that SQLite has open.
    fn check(&mut self, paths: &FilePaths) -> Result<(), FileChange> {
        // A log that begins again is cut off at this size.
        let at_least = self.wal_bytes.min(MAX_WAL_BYTES.into());
        self.wal_bytes = self.identity.check(paths, at_least)?;
        Ok(())
    }

    /// Copies the write-ahead log into the database. Does not wait for other processes.
    fn checkpoint(&self, mode: &str) -> rusqlite::Result<()> {
        self.writer.busy_timeout(Duration::ZERO)?;
        self.writer.pragma_update(None, "wal_checkpoint", mode)
    }

    /// Copies a write-ahead log that was deleted, and that SQLite still has open, into the database.
    ///
    /// SUBTLE: the write lock keeps a process that uses the same shared memory from beginning a new write-ahead log in the
    /// meantime. If the shared memory was deleted too, a process that has started since has its own. Its writes then
    /// lack what was seen here, which is noticed when the file is opened again.
    fn rescue(&mut self, paths: &FilePaths) -> rusqlite::Result<()> {
        let behavior = TransactionBehavior::Immediate;
        let lock = Transaction::new(&mut self.writer, behavior)?;
        if self.identity.has_lost_only_deleted_sidecars(paths) {
            self.watcher
                .pragma_update(None, "wal_checkpoint", "PASSIVE")?;
        }
        lock.rollback()
    }
}

/// The reason why files were not opened again.
enum ReopenError {
    Sqlite(rusqlite::Error),
    Refusal(Refusal),
}

// === impl ReopenError ===

impl From<rusqlite::Error> for ReopenError {
    fn from(error: rusqlite::Error) -> Self {
        ReopenError::Sqlite(error)
    }
}

impl From<Refusal> for ReopenError {
    fn from(refusal: Refusal) -> Self {
        ReopenError::Refusal(refusal)
    }
}

impl From<Discontinuity> for ReopenError {
    fn from(reason: Discontinuity) -> Self {
        ReopenError::Refusal(Refusal::Discontinuity(reason))
    }
}

impl From<Unsuitable> for ReopenError {
    fn from(error: Unsuitable) -> Self {
        match error {
            Unsuitable::Sqlite(error) => ReopenError::Sqlite(error),
            Unsuitable::Problem(problem) => ReopenError::Refusal(Refusal::Problem(problem)),
        }
    }
}

// === impl Unusable ===

impl From<rusqlite::Error> for Unusable {
    fn from(error: rusqlite::Error) -> Self {
        Unusable::Sqlite(error)
    }
}
