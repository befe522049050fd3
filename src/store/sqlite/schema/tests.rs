//! The contents of a file.

use super::*;
use crate::lock::codec::LockTimes;

fn group() -> GroupName {
    GroupName::new("g").unwrap()
}

fn value(text: &str) -> Value {
    Value {
        semaphore: text.into(),
        lock_times: LockTimes::Absent,
    }
}

fn store() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    create(&mut connection).unwrap();
    connection
}

fn problem(connection: &Connection) -> OpenProblem {
    match contents(connection) {
        Err(Unsuitable::Problem(problem)) => problem,
        result => panic!("{result:?}"),
    }
}

#[test]
fn only_an_empty_file_and_one_of_this_version_can_be_the_store() {
    let connection = Connection::open_in_memory().unwrap();
    assert_eq!(contents(&connection).unwrap(), Contents::Empty);
    connection.execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert!(matches!(problem(&connection), OpenProblem::Foreign));

    let connection = store();
    assert_eq!(contents(&connection).unwrap(), Contents::Airlock);
    connection.pragma_update(None, "user_version", 2).unwrap();
    let newer = problem(&connection);
    assert!(matches!(
        newer,
        OpenProblem::Newer {
            found: 2,
            supported: 1
        }
    ));
    connection.pragma_update(None, "application_id", 7).unwrap();
    assert!(matches!(problem(&connection), OpenProblem::Foreign));
}

#[test]
fn the_revision_is_the_number_of_writes_and_is_never_given_twice() {
    let mut connection = store();
    let transaction = connection.transaction().unwrap();
    for expected in 1..4 {
        let written = write(&transaction, &group(), &value("a")).unwrap();
        assert_eq!(written, Revision(expected));
        assert_eq!(revision(&transaction).unwrap(), expected);
        assert_eq!(
            select(&transaction, &group(), written).unwrap().revision,
            written
        );
        transaction.execute("DELETE FROM semaphores", ()).unwrap();
    }
    let absent = select(&transaction, &group(), Revision(3)).unwrap();
    assert_eq!(absent, Stored::absent(Revision(3)));
}

#[test]
fn every_write_also_one_by_hand_gives_the_clock_a_new_token() {
    let mut connection = store();
    let transaction = connection.transaction().unwrap();
    let mut seen = clock(&transaction).unwrap();
    // That of the latest write, and that of the store.
    assert_eq!(seen.tokens.len(), 2 * TOKEN_BYTES);
    let first = seen.tokens[TOKEN_BYTES..].to_vec();
    write(&transaction, &group(), &value("a")).unwrap();
    for _ in 0..2 {
        let now = clock(&transaction).unwrap();
        assert_eq!(now.revision, seen.revision + 1);
        assert_eq!(now.tokens[TOKEN_BYTES..], seen.tokens);
        assert_ne!(now.tokens[..TOKEN_BYTES], seen.tokens[..TOKEN_BYTES]);
        seen = now;
        transaction
            .execute("UPDATE clock SET revision = revision + 1", ())
            .unwrap();
    }
    for _ in 0..MAX_TOKENS {
        write(&transaction, &group(), &value("a")).unwrap();
    }
    let full = clock(&transaction).unwrap();
    assert_eq!(full.tokens.len(), MAX_TOKENS * TOKEN_BYTES);
    assert!(full.tokens.ends_with(&first));
}

/// A person can write anything, and a copy of the store must not make a value of it that can be decoded.
#[test]
fn a_value_that_is_not_utf_8_is_read_and_written_as_it_is() {
    let mut connection = store();
    let transaction = connection.transaction().unwrap();
    let damaged = Value {
        semaphore: b"{\xff}".to_vec(),
        lock_times: LockTimes::Current(b"\xff".to_vec()),
    };
    write(&transaction, &group(), &damaged).unwrap();
    let stored = select(&transaction, &group(), Revision(1)).unwrap();
    assert_eq!(stored.value.as_ref(), Some(&damaged));
    assert_eq!(values(&transaction).unwrap()[&group()], damaged);
}

#[test]
fn a_file_of_an_earlier_version_is_completed() {
    for earlier in [
        "DROP TRIGGER clock_history; ALTER TABLE clock DROP COLUMN tokens",
        "DROP TRIGGER clock_history; CREATE TRIGGER clock_tokens AFTER UPDATE OF revision ON clock BEGIN SELECT 1; END",
    ] {
        let mut connection = store();
        connection.execute_batch(earlier).unwrap();
        assert!(!has_tokens(&connection).unwrap());
        for _ in 0..2 {
            create(&mut connection).unwrap();
            assert!(has_tokens(&connection).unwrap());
        }
        let triggers: i64 = connection
            .query_row(
                "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'",
                (),
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(triggers, 1);
    }
}

#[test]
fn a_touch_needs_a_store_that_can_be_written_and_leaves_the_clock() {
    let mut connection = store();
    let transaction = connection.transaction().unwrap();
    let before = clock(&transaction).unwrap();
    touch(&transaction).unwrap();
    assert_eq!(clock(&transaction).unwrap(), before);
    assert_eq!(contents(&transaction).unwrap(), Contents::Airlock);
    transaction.pragma_update(None, "query_only", true).unwrap();
    assert!(touch(&transaction).is_err());
}

#[test]
fn a_damaged_file_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("airlock.db");
    let mut connection = Connection::open(&path).unwrap();
    create(&mut connection).unwrap();
    assert_eq!(damage(&connection, "quick_check").unwrap(), None);
    drop(connection);
    let mut bytes = std::fs::read(&path).unwrap();
    let last_page = bytes.len() - 4096;
    bytes[last_page..].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let connection = Connection::open(&path).unwrap();
    for check in ["quick_check", "integrity_check"] {
        assert!(damage(&connection, check).unwrap().is_some(), "{check}");
    }
}

#[test]
fn the_repair_command_names_the_file_for_any_directory_and_changes_the_revision() {
    let path = Path::new("/var/lib/air lock/airlock.db");
    let location = location(path, &group());
    assert_eq!(
        location.description,
        "group g in /var/lib/air lock/airlock.db"
    );
    let command = location.repair_command;
    let start = "sqlite3 -cmd '.timeout 5000' '/var/lib/air lock/airlock.db' \"BEGIN IMMEDIATE; ";
    let sql = command.strip_prefix(start).unwrap();
    let sql = sql.strip_suffix("; COMMIT\"").unwrap();
    let sql = sql.replace("SLOTS", "3").replace("'ID'", "'a'");
    let mut connection = store();
    let transaction = connection.transaction().unwrap();
    let damaged = write(&transaction, &group(), &value("damaged")).unwrap();
    transaction.execute_batch(&sql).unwrap();
    let repaired = select(&transaction, &group(), damaged).unwrap();
    assert!(repaired.revision > damaged);
    let text = r#"{"total_slots":3,"holders":["a"]}"#;
    assert_eq!(repaired.value, Some(value(text)));
}

#[test]
fn a_statement_is_quoted_with_single_quotes_if_the_shell_would_change_it() {
    assert_eq!(quoted_statement("SELECT 'a'"), "\"SELECT 'a'\"");
    assert_eq!(quoted_statement("SELECT $a"), "'SELECT $a'");
}
