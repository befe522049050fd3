//! The inspection of the file of the embedded store.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use super::access::{check_log, folder_of};
use super::connection::{connect, is_busy};
use super::error::{DatabaseError, OpenError};
use super::filesystem;
use super::identity::with_suffix;
use super::schema::SCHEMA_VERSION;
use crate::store::findings::{Check, FileFacts, Finding, Severity, StoreReport};
use crate::text::explain::Remedy as _;
use crate::text::permission::command_path;

/// The maximum number of problems of a damaged file that are reported.
const MAX_PROBLEMS: usize = 5;

/// Inspects the file at `path`, which does not have to exist. Writes nothing beside a running server; else SQLite
/// recovers the file if its last user crashed, as it does whenever a file is opened.
///
/// SUBTLE: it must not be called while this process has the store open: closing the file would drop the locks of SQLite.
pub(crate) fn inspect(path: &Path, busy_timeout: Duration) -> StoreReport {
    let mut facts = FileFacts {
        path: path.to_owned(),
        ..FileFacts::default()
    };
    let subject = path.display().to_string();
    let finding =
        |severity, check, message: String| Finding::new(severity, check, &subject, message);
    if let Err(problem) = check_log(path) {
        let error = OpenError::new(path, problem);
        let file = finding(Severity::Error, Check::File, error.problem().to_string())
            .with_remedy(error.remedy().unwrap_or_default());
        return StoreReport::new(Vec::new(), Some(facts), vec![file]);
    }
    let Ok(metadata) = fs::metadata(path) else {
        let message = "the file does not exist; a server creates it, without any locks".into();
        let findings = vec![
            finding(Severity::Ok, Check::File, message),
            filesystem_of(folder_of(path), &subject),
        ];
        return StoreReport::new(Vec::new(), Some(facts), findings);
    };
    facts.bytes = Some(metadata.len());
    facts.wal_bytes = fs::metadata(with_suffix(path, "-wal"))
        .ok()
        .map(|wal| wal.len());
    facts.mode = Some(format!("{:04o}", metadata.mode() & 0o7777));
    let mut findings = vec![
        filesystem_of(path, &subject),
        permissions(path, &metadata, &subject),
    ];
    match read(path, busy_timeout) {
        Ok((schema_version, problems)) => {
            facts.schema_version = Some(schema_version);
            findings.push(schema(schema_version, &facts));
            findings.push(integrity(problems, &subject));
        }
        Err(error) if is_busy(&error) => {
            let message = "the structure of the file: not known (another process keeps it locked)";
            findings.push(finding(Severity::Unknown, Check::Integrity, message.into()));
        }
        Err(error) => {
            let message = DatabaseError::new(path, error).to_string();
            findings.push(finding(Severity::Error, Check::Integrity, message));
        }
    }
    StoreReport::new(Vec::new(), Some(facts), findings)
}

/// Returns the version of the schema, and the problems that SQLite finds in the structure of the file.
fn read(path: &Path, busy_timeout: Duration) -> rusqlite::Result<(i32, Vec<String>)> {
    let connection = connect(path, busy_timeout)?;
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({MAX_PROBLEMS})"))?;
    let rows = statement.query_map((), |row| row.get::<_, String>(0))?;
    let problems: rusqlite::Result<Vec<String>> = rows.collect();
    let problems = problems?.into_iter().filter(|problem| problem != "ok");
    Ok((version, problems.collect()))
}

/// Checks whether the contents of the filesystem that contains `place` outlast a restart of this machine. A network
/// filesystem is an error of the configuration, see [`check_place`](super::access::check_place).
fn filesystem_of(place: &Path, subject: &str) -> Finding {
    match filesystem::magic(place) {
        Ok(magic) => filesystem_finding(magic, subject),
        Err(error) => {
            let message = format!("the filesystem of the file: not known ({error})");
            Finding::new(Severity::Unknown, Check::Filesystem, subject, message)
        }
    }
}

fn filesystem_finding(magic: u64, subject: &str) -> Finding {
    let finding = |severity, message| Finding::new(severity, Check::Filesystem, subject, message);
    if let Some(name) = filesystem::in_memory(magic) {
        let message = format!(
            "the filesystem of the file is {name}, which is in memory: all locks are lost when this machine restarts"
        );
        return finding(Severity::Warning, message)
            .with_remedy("set embedded.path to a file on a disk");
    }
    let name =
        filesystem::other(magic).map_or_else(|| format!("of type {magic:#x}"), str::to_owned);
    finding(
        Severity::Ok,
        format!("the filesystem of the file is {name}"),
    )
}

fn schema(version: i32, facts: &FileFacts) -> Finding {
    let path = facts.path.display();
    let subject = path.to_string();
    let finding = |severity, message| Finding::new(severity, Check::Schema, &subject, message);
    match version {
        SCHEMA_VERSION => finding(Severity::Ok, format!("the schema has version {version}")),
        0 if facts.bytes == Some(0) => finding(
            Severity::Warning,
            "the file is empty; a server starts with it, without any locks".to_owned(),
        )
        .with_remedy(
            "if the store was lost, restore a backup with `airlock restore FILE --pause`",
        ),
        // The first transaction of a server creates the schema. It is in the log only, until the next poll copies it.
        0 => finding(
            Severity::Warning,
            "the file was created by a server, but contains no locks and no schema: most likely it was copied or \
             restored without its write-ahead log"
                .to_owned(),
        )
        .with_remedy(format!(
            "stop the server, and put back {path} together with {path}-wal, or restore a backup with `airlock restore \
             FILE --pause`; delete the file if it never had any locks"
        )),
        other => finding(
            Severity::Error,
            format!("the schema has version {other}; this program supports {SCHEMA_VERSION}"),
        ),
    }
}

fn integrity(problems: Vec<String>, subject: &str) -> Finding {
    if problems.is_empty() {
        let message = "SQLite finds no damage in the file";
        return Finding::new(Severity::Ok, Check::Integrity, subject, message);
    }
    // SQLite puts several lines into one problem.
    let problems: Vec<String> = problems
        .iter()
        .flat_map(|problem| problem.lines())
        .take(MAX_PROBLEMS)
        .map(str::to_owned)
        .collect();
    let message = format!("the file is damaged: {}", problems.join("; "));
    Finding::new(Severity::Error, Check::Integrity, subject, message)
        .with_remedy("stop the server, and restore a backup with `airlock restore FILE --pause`")
}

/// Checks whether other users of this machine may open the file. One that can read it can also lock it, and with that
/// stop the store.
fn permissions(path: &Path, metadata: &Metadata, subject: &str) -> Finding {
    let mode = metadata.mode() & 0o7777;
    let finding =
        |severity, message| Finding::new(severity, Check::FilePermissions, subject, message);
    let is_closed = |folder: &Path| fs::metadata(folder).is_ok_and(|it| it.mode() & 0o001 == 0);
    // Behind links, as every access is.
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if mode & 0o007 == 0 || real.ancestors().skip(1).any(is_closed) {
        let message = "other users of this machine cannot open the file";
        return finding(Severity::Ok, message.to_owned());
    }
    let message = format!(
        "every user of this machine can open the file, which has mode {mode:04o}, and block the store"
    );
    let files = ["", "-wal", "-shm"].map(|suffix| with_suffix(path, suffix));
    let files = files.iter().filter(|file| file.exists());
    let files: Vec<String> = files.map(|file| command_path(file)).collect();
    finding(Severity::Warning, message).with_remedy(format!("chmod o= {}", files.join(" ")))
}

#[cfg(test)]
mod tests;
