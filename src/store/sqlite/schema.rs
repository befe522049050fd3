//! The SQLite file: its schema and its statements.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};

use super::access::APPLICATION_ID;
use super::continuity::{Clock, MAX_TOKENS, TOKEN_BYTES};
use super::error::{OpenProblem, Unsuitable};
use crate::lock::GroupName;
use crate::lock::codec::{Revision, Stored, Value};
use crate::store::Location;
use crate::text::escape::shell_word;

/// The values of all groups in a file.
pub(crate) type Values = BTreeMap<GroupName, Value>;

/// The version of the schema (`PRAGMA user_version`).
pub(super) const SCHEMA_VERSION: i32 = 1;

/// `clock` has one row: the revision of the last write to any group. It never decreases, so that a value that is deleted
/// and created again gets a revision that it never had.
const SCHEMA: &str = "
    CREATE TABLE clock (revision INTEGER NOT NULL) STRICT;
    INSERT INTO clock VALUES (0);
    CREATE TABLE semaphores (
        group_name TEXT PRIMARY KEY,
        revision INTEGER NOT NULL,
        semaphore TEXT NOT NULL,
        lock_times TEXT
    ) STRICT;
";

/// Adds the tokens of the store and of the latest writes to the clock (see [`Clock`]). A trigger creates them, so that
/// they are right also if a person or an earlier version writes, which sees no other difference. Therefore the version
/// stays the same.
fn add_tokens(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "SELECT count(*) FROM pragma_table_info('clock') WHERE name = 'tokens'";
    if !connection.query_row(sql, (), |row| row.get(0))? {
        connection
            .execute_batch("ALTER TABLE clock ADD COLUMN tokens BLOB NOT NULL DEFAULT x''")?;
    }
    // `||` makes a text of two blobs, of which `substr` would count the characters.
    connection.execute_batch(&format!(
        "DROP TRIGGER IF EXISTS clock_tokens;
         CREATE TRIGGER clock_history AFTER UPDATE OF revision ON clock BEGIN
             UPDATE clock SET tokens = CAST(
                 substr(
                     CAST(
                         randomblob({TOKEN_BYTES}) || substr(tokens, 1, length(tokens) - {TOKEN_BYTES}) AS BLOB
                     ), 1, {latest}
                 ) || substr(tokens, -{TOKEN_BYTES}) AS BLOB
             );
         END;
         UPDATE clock SET tokens = randomblob(2 * {TOKEN_BYTES});",
        latest = TOKEN_BYTES * (MAX_TOKENS - 1)
    ))
}

/// Creates the schema in an empty file, which it logs as a warning. Completes the schema of an earlier version.
pub(super) fn create(connection: &mut Connection) -> Result<(), Unsuitable> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Checked again, because another process may have created the schema in the meantime.
    if let Contents::Empty = contents(&transaction)? {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        let path = transaction.path();
        tracing::warn!(
            path,
            "the embedded store is new and contains no locks; if there was one before, stop the server, and put that \
             one back"
        );
    }
    if !has_tokens(&transaction)? {
        add_tokens(&transaction)?;
    }
    transaction.commit()?;
    Ok(())
}

/// The contents of a file that can be the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    Empty,
    Airlock,
}

pub(super) fn contents(connection: &Connection) -> Result<Contents, Unsuitable> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    match (application, version) {
        (0, 0) if tables == 0 => Ok(Contents::Empty),
        (APPLICATION_ID, SCHEMA_VERSION) => Ok(Contents::Airlock),
        (APPLICATION_ID, found) => Err(OpenProblem::Newer {
            found,
            supported: SCHEMA_VERSION,
        }
        .into()),
        _ => Err(OpenProblem::Foreign.into()),
    }
}

/// Returns the first damage in the structure of the file that the pragma `check` finds: `quick_check` or
/// `integrity_check`.
pub(super) fn damage(connection: &Connection, check: &str) -> rusqlite::Result<Option<String>> {
    let result: String =
        connection.query_row(&format!("PRAGMA {check}(1)"), (), |row| row.get(0))?;
    Ok((result != "ok").then_some(result))
}

/// Reports whether the clock has tokens: earlier versions did not write any, or not that of the store.
pub(super) fn has_tokens(connection: &Connection) -> rusqlite::Result<bool> {
    let sql =
        "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND name = 'clock_history'";
    connection.query_row(sql, (), |row| row.get(0))
}

/// Reads the clock.
pub(super) fn clock(transaction: &Transaction<'_>) -> rusqlite::Result<Clock> {
    transaction
        .prepare_cached("SELECT revision, tokens FROM clock")?
        .query_row((), |row| {
            Ok(Clock {
                revision: row.get(0)?,
                tokens: row.get(1)?,
            })
        })
}

/// Reads the current value of a group. `as_of` is the revision of the clock.
pub(super) fn select(
    transaction: &Transaction<'_>,
    group: &GroupName,
    as_of: Revision,
) -> rusqlite::Result<Stored> {
    let found = transaction
        .prepare_cached(
            "SELECT revision, semaphore, lock_times FROM semaphores WHERE group_name = ?1",
        )?
        .query_row([group.as_str()], |row| {
            Ok(Stored {
                revision: Revision(row.get(0)?),
                value: Some(value_in(row, 1)?),
                as_of,
            })
        })
        .optional()?;
    Ok(found.unwrap_or_else(|| Stored::absent(as_of)))
}

/// Reads the revision of the last write.
pub(super) fn revision(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("SELECT revision FROM clock")?
        .query_row((), |row| row.get(0))
}

/// Reads the values of all groups.
pub(super) fn values(connection: &Connection) -> rusqlite::Result<Values> {
    let mut statement =
        connection.prepare("SELECT group_name, semaphore, lock_times FROM semaphores")?;
    let mut rows = statement.query(())?;
    let mut values = Values::new();
    while let Some(row) = rows.next()? {
        // No server has a group with another name.
        let name = str::from_utf8(row.get_ref(0)?.as_bytes()?);
        if let Some(group) = name.ok().and_then(GroupName::new) {
            values.insert(group, value_in(row, 1)?);
        }
    }
    Ok(values)
}

/// Returns the groups that have a value.
pub(super) fn groups(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<GroupName>> {
    let mut statement = transaction.prepare_cached("SELECT group_name FROM semaphores")?;
    let mut rows = statement.query(())?;
    let mut groups = Vec::new();
    while let Some(row) = rows.next()? {
        let name = str::from_utf8(row.get_ref(0)?.as_bytes()?);
        groups.extend(name.ok().and_then(GroupName::new));
    }
    Ok(groups)
}

/// Returns the value in two columns. It may be anything that a person has written, also a text that is not UTF-8.
fn value_in(row: &Row<'_>, column: usize) -> rusqlite::Result<Value> {
    Ok(Value {
        semaphore: row.get_ref(column)?.as_bytes()?.to_vec(),
        lock_times: row
            .get_ref(column + 1)?
            .as_bytes_or_null()?
            .map(<[u8]>::to_vec)
            .into(),
    })
}

/// Writes a value with a new revision, and returns the revision.
pub(super) fn write(
    transaction: &Transaction<'_>,
    group: &GroupName,
    value: &Value,
) -> rusqlite::Result<Revision> {
    // Without `WHERE rowid`, and with `RETURNING`, SQLite creates a temporary table, which costs more than the update.
    transaction
        .prepare_cached(
            "UPDATE clock SET revision = revision + 1 WHERE rowid = (SELECT max(rowid) FROM clock)",
        )?
        .execute(())?;
    let revision = revision(transaction)?;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO semaphores VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            group.as_str(),
            revision,
            Text(&value.semaphore),
            value.lock_times.current().map(Text),
        ])?;
    Ok(Revision(revision))
}

/// A text that may not be UTF-8, which a restore copies as it is.
struct Text<'a>(&'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

/// Writes a page without changing its content. The clock and its tokens stay the same.
pub(super) fn touch(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)
}

/// Returns the location of the value of a group.
pub(super) fn location(path: &Path, group: &GroupName) -> Location {
    Location {
        description: format!("group {group} in {}", path.display()),
        repair_command: repair_command(path, group),
    }
}

/// Returns the command that overwrites the value of a group.
///
/// The audit log and the history, which the last column contains too, are kept; `char(36)` is a dollar sign, which a
/// shell would replace. The immediate transaction keeps another writer from using the same revision, and the timeout waits for one that is
/// writing now.
fn repair_command(path: &Path, group: &GroupName) -> String {
    // The command must not depend on the directory in which it is run.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let file = shell_word(&path.display().to_string());
    let group = group.as_str().replace('\'', "''");
    let sql = format!(
        "BEGIN IMMEDIATE; UPDATE clock SET revision = revision + 1; \
         UPDATE semaphores SET revision = (SELECT revision FROM clock), \
         lock_times = CASE WHEN json_valid(lock_times) THEN json_remove(lock_times, char(36)||'.holders') END, \
         semaphore = json_object('total_slots', SLOTS, 'holders', json_array('ID')) WHERE group_name = '{group}'; COMMIT"
    );
    format!(
        "sqlite3 -cmd '.timeout 5000' {file} {}",
        quoted_statement(&sql)
    )
}

/// Quotes a SQL statement for a POSIX shell: with double quotes if possible, because the single quotes of SQL stay
/// readable in them.
fn quoted_statement(sql: &str) -> String {
    if sql.contains(['"', '$', '`', '\\', '!']) {
        shell_word(sql)
    } else {
        format!("\"{sql}\"")
    }
}

#[cfg(test)]
mod tests;
