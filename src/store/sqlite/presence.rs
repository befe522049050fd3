//! The documents of servers: a table beside the semaphores, which earlier versions do not touch.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Transaction, params};

use crate::store::presence::{KEPT, Liveness, MAX_DOCUMENT, MAX_SILENCE, Published};

/// The interval at which an unchanged document is written again.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// `seen` is the Unix time of the last publication.
const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS servers (
        server TEXT PRIMARY KEY,
        seen INTEGER NOT NULL,
        document TEXT NOT NULL
    ) STRICT;
";

/// The document of this server as it was written last.
#[derive(Clone, Debug)]
pub(super) struct OwnDocument {
    pub(super) server: String,
    pub(super) document: String,
    /// The time at which it was written; `None` if that is not confirmed.
    pub(super) at: Option<Instant>,
}

// === impl OwnDocument ===

impl OwnDocument {
    /// Reports whether `document` need not be written: each write costs an `fsync`.
    pub(super) fn is_current(&self, server: &str, document: &str) -> bool {
        let is_fresh = self.at.is_some_and(|at| at.elapsed() < HEARTBEAT);
        is_fresh && self.server == server && self.document == document
    }
}

/// Writes the document of this server, and removes those of servers that are gone for long.
pub(super) fn publish(transaction: &Transaction<'_>, own: &OwnDocument) -> rusqlite::Result<()> {
    let now = Timestamp::now().as_second();
    transaction.execute_batch(TABLE)?;
    transaction.execute(
        "DELETE FROM servers WHERE seen < ?1",
        [now - KEPT.as_secs().cast_signed()],
    )?;
    transaction.execute(
        "INSERT OR REPLACE INTO servers VALUES (?1, ?2, ?3)",
        params![own.server, now, own.document],
    )?;
    Ok(())
}

/// Removes the document of this server, unless another one has written its own under the same name.
pub(super) fn withdraw(transaction: &Transaction<'_>, own: &OwnDocument) -> rusqlite::Result<()> {
    if has_table(transaction)? {
        transaction.execute(
            "DELETE FROM servers WHERE server = ?1 AND document = ?2",
            [&own.server, &own.document],
        )?;
    }
    Ok(())
}

/// Reads the documents of all servers, except those that no server can have written.
pub(super) fn published(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<Published>> {
    if !has_table(transaction)? {
        return Ok(Vec::new());
    }
    let now = Timestamp::now().as_second();
    let max_silence = (HEARTBEAT + MAX_SILENCE).as_secs().cast_signed();
    let mut statement = transaction.prepare(
        "SELECT server, seen, document FROM servers
         WHERE length(CAST(document AS BLOB)) <= ?1 ORDER BY server",
    )?;
    let max = MAX_DOCUMENT.try_into().unwrap_or(i64::MAX);
    let published = statement.query_map([max], |row| {
        let (server, document) = (row.get_ref(0)?, row.get_ref(2)?);
        // SQLite does not check that a text is UTF-8.
        let (Ok(server), Ok(document)) = (server.as_str(), document.as_str()) else {
            return Ok(None);
        };
        let seen: i64 = row.get(1)?;
        Ok(Some(Published {
            server: server.to_owned(),
            document: document.into(),
            liveness: match now.saturating_sub(seen) <= max_silence {
                true => Liveness::Alive,
                false => Liveness::Gone {
                    last_seen: Timestamp::from_second(seen).ok(),
                },
            },
        }))
    })?;
    published.filter_map(Result::transpose).collect()
}

fn has_table(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'servers'";
    transaction.query_row(sql, (), |row| row.get(0))
}
