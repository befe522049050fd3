//! Commits that compare other groups.

use super::*;
use crate::store::Member;

/// Returns a commit that compares another group too.
fn commit_with(expected: Stored, text: &str, group: &str, stored: &Stored) -> Then {
    let group = &name(group);
    Then::Commit(Commit {
        expected,
        new: Some(value(text)),
        also: vec![Member { group, stored }.owned()],
    })
}

#[test]
fn of_two_commits_in_one_transaction_the_second_finds_what_the_first_has_written() {
    let mut store = Store::new();
    let [left, right] = ["left", "right"].map(|group| {
        store.write(group, "old");
        store.read(group)
    });
    let calls = [
        call("left", commit_with(left.clone(), "new", "right", &right)),
        call("right", commit_with(right, "new", "left", &left)),
    ];
    let results = store.worker.call_all(&calls);
    let [Ok(first), Ok(second)] = &results[..] else {
        panic!("{results:?}");
    };
    let committed = first.committed.unwrap();
    assert_eq!(second.committed, None);
    let found = Stored::written(value("new"), committed);
    assert!(second.members[0].is_still(&found), "{second:?}");
    assert_eq!([store.text("left"), store.text("right")], ["new", "old"]);
}

#[test]
fn the_latest_values_of_members_are_remembered() {
    let mut store = Store::new();
    store.write("m", "old");
    let (own, member) = (store.read("g"), store.read("m"));
    // Another process writes the member, so a commit is the first to see it.
    execute(
        &store.path,
        "UPDATE clock SET revision = revision + 1;
         UPDATE semaphores SET semaphore = 'theirs', revision = (SELECT revision FROM clock) WHERE group_name = 'm'",
    );
    let done = store.call("g", commit_with(own, "refused", "m", &member));
    let done = done.unwrap();
    assert_eq!(done.committed, None);
    let theirs = &done.members[0];
    assert_eq!(theirs.value, Some(value("theirs")));
    let memory = &store.worker.database.memory;
    assert!(memory.check_group(&name("m"), &member).is_err());
    assert!(memory.check_group(&name("m"), theirs).is_ok());

    // In one transaction: a commit that compares the member, and then a write to it.
    let calls = [
        call("g", commit_with(done.current, "second", "m", theirs)),
        call("m", commit(theirs.clone(), "ours")),
    ];
    for done in store.worker.call_all(&calls) {
        assert!(done.unwrap().committed.is_some());
    }
    let ours = store.read("m");
    assert_eq!(ours.value, Some(value("ours")));
    let memory = &store.worker.database.memory;
    assert!(memory.check_group(&name("m"), theirs).is_err());
    assert!(memory.check_group(&name("m"), &ours).is_ok());
}
