//! The documents of servers: a table beside the semaphores, which earlier versions do not touch.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Transaction, params};

use crate::store::presence::{KEPT, Liveness, MAX_SILENCE, Published};

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

/// The document of this server as it was last written.
#[derive(Debug, Default)]
pub(super) struct OwnDocument(Option<(String, Instant)>);

// === impl OwnDocument ===

impl OwnDocument {
    /// Reports whether a document has to be written: each write costs an `fsync`.
    pub(super) fn must_write(&self, document: &str) -> bool {
        let is_current =
            |(known, at): &(String, Instant)| known == document && at.elapsed() < HEARTBEAT;
        !self.0.as_ref().is_some_and(is_current)
    }

    pub(super) fn written(&mut self, document: &str) {
        self.0 = Some((document.to_owned(), Instant::now()));
    }
}

/// Writes the document of a server, and removes those of servers that are gone for long.
pub(super) fn publish(
    transaction: &Transaction<'_>,
    server: &str,
    document: &str,
) -> rusqlite::Result<()> {
    let now = Timestamp::now().as_second();
    transaction.execute_batch(TABLE)?;
    transaction.execute(
        "DELETE FROM servers WHERE seen < ?1",
        [now - KEPT.as_secs().cast_signed()],
    )?;
    transaction.execute(
        "INSERT OR REPLACE INTO servers VALUES (?1, ?2, ?3)",
        params![server, now, document],
    )?;
    Ok(())
}

/// Removes the document of a server.
pub(super) fn withdraw(transaction: &Transaction<'_>, server: &str) -> rusqlite::Result<()> {
    if has_table(transaction)? {
        transaction.execute("DELETE FROM servers WHERE server = ?1", [server])?;
    }
    Ok(())
}

/// Reads the documents of all servers.
pub(super) fn published(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<Published>> {
    if !has_table(transaction)? {
        return Ok(Vec::new());
    }
    let now = Timestamp::now().as_second();
    let max_silence = (HEARTBEAT + MAX_SILENCE).as_secs().cast_signed();
    let mut statement =
        transaction.prepare("SELECT server, seen, document FROM servers ORDER BY server")?;
    let published = statement.query_map((), |row| {
        let seen: i64 = row.get(1)?;
        Ok(Published {
            server: row.get(0)?,
            document: row.get(2)?,
            liveness: match now - seen <= max_silence {
                true => Liveness::Alive,
                false => Liveness::Gone {
                    last_seen: Timestamp::from_second(seen).ok(),
                },
            },
        })
    })?;
    published.collect()
}

fn has_table(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'servers'";
    transaction.query_row(sql, (), |row| row.get(0))
}
