//! Policies as the nodes and the administrators of a fleet meet them: what is refused, with which words, and what ends it.

use airlock_test_support::airlock::Airlock;
use airlock_test_support::client::{Client, Response};
use airlock_test_support::etcd::Etcd;
use jiff::{SignedDuration, Timestamp};

const YEARS: &str = "from = 2020-01-01\nuntil = 2999-12-31\nreason = \"stock-taking\"\n";

fn config(lock: &str) -> String {
    format!("[embedded]\npath = \"{{folder}}/airlock.db\"\n[lock]\ndefault_slots = 3\n{lock}")
}

#[track_caller]
fn refused(response: &Response, kind: &str) -> String {
    let found = (response.status, response.kind());
    assert_eq!(found, (423, kind.to_owned()), "{}", response.value());
    response.value()
}

/// Whatever the policies say, a holder keeps its slot, and a node that is back is never refused.
#[track_caller]
fn assert_invariant_12(client: &Client, group: &str, holder: &str) {
    assert!(client.lock(group, holder).granted(), "a holder asks again");
    assert!(
        client.unlock(group, "stranger").granted(),
        "a non-holder is back"
    );
    assert!(client.unlock(group, holder).granted(), "a holder is back");
}

#[test]
fn a_freeze_refuses_new_locks_until_an_administrator_overrides_it() {
    let mut airlock = Airlock::start(&config(""));
    let client = airlock.client();
    assert!(client.lock("default", "holder").granted());
    airlock.reload(&config(&format!("[[lock.freezes]]\n{YEARS}")));
    airlock.wait_for_log("changes=\"freezes of default\"");
    assert_eq!(
        refused(&client.lock("default", "new"), "frozen"),
        "group \"default\" is frozen (stock-taking) until Wed 3000-01-01 00:00 UTC"
    );
    assert_invariant_12(&client, "default", "holder");

    let overridden = airlock.command(&["override", "default", "--for", "2h", "--yes"]);
    let text = String::from_utf8(overridden.stdout).unwrap();
    assert!(overridden.status.success(), "{text}");
    assert!(
        text.contains("  reboot windows, freezes and gates are overridden until 2"),
        "{text}"
    );
    airlock.wait_for_log("has started an override of reboot windows, freezes and gates until 2");
    assert!(client.lock("default", "new").granted());
    let ended = airlock.command(&["override", "default", "--end", "--yes"]);
    assert!(ended.status.success());
    refused(&client.lock("default", "newer"), "frozen");
    let again = airlock.command(&["override", "default", "--end", "--yes"]);
    let text = String::from_utf8(again.stdout).unwrap();
    assert!(text.contains("nothing to change"), "{text}");
    let long = airlock.command(&["override", "default", "--for", "8d", "--yes"]);
    let text = String::from_utf8(long.stderr).unwrap();
    assert!(text.contains("an override lasts at most 7d"), "{text}");
}

#[test]
fn a_group_settles_after_a_release_also_at_another_server_and_after_a_restart() {
    let etcd = Etcd::start();
    let more = "[lock]\ndefault_slots = 2\nsettle_minutes = 30\n";
    let mut first = Airlock::on_etcd(&etcd.endpoints(), more);
    let second = Airlock::on_etcd(&etcd.endpoints(), more);
    assert!(first.client().lock("default", "a").granted());
    assert!(first.client().lock("default", "b").granted());
    // Neither an administrator nor a node that holds no slot starts the time.
    let unlocked = first.command(&["unlock", "default", "b", "--yes"]);
    assert!(unlocked.status.success());
    assert!(first.client().unlock("default", "b").granted());
    assert!(second.client().lock("default", "c").granted());

    let before = Timestamp::now();
    assert!(second.client().unlock("default", "a").granted());
    first.restart();
    for server in [&first, &second] {
        let value = refused(&server.client().lock("default", "d"), "settling");
        let until = value
            .strip_prefix(
                "a node of group \"default\" has just come back; the next lock can be granted at ",
            )
            .unwrap_or_else(|| panic!("{value}"));
        let until: Timestamp = until.parse().unwrap();
        let settles = until.duration_since(before);
        assert!(settles > SignedDuration::from_mins(29), "{value}");
    }
    assert_invariant_12(&first.client(), "default", "c");
}

#[test]
fn a_group_is_stalled_until_the_node_is_back_or_unlocked() {
    let etcd = Etcd::start();
    let semaphore = "com.coreos.airlock/groups/default/v1/semaphore";
    let times = "com.coreos.airlock/groups/default/v1/lock-times";
    let more = "[lock]\ndefault_slots = 3\nstall_after_minutes = 60\n";
    let airlock = Airlock::on_etcd(&etcd.endpoints(), more);
    let client = airlock.client();
    assert!(client.lock("default", "old").granted());
    let stored = etcd.get(times);
    let at = stored.find("T").unwrap();
    let long_ago = format!("{}2020-01-01{}", &stored[..at - 10], &stored[at..]);
    let held = etcd.get(semaphore);
    etcd.ctl_txn(&[(semaphore, &held), (times, &long_ago)]);
    let value = refused(&client.lock("default", "new"), "group_stalled");
    assert!(
        value.starts_with(
            "group \"default\" is stalled: node \"old\" has held a slot since 2020-01-01T"
        ) && value
            .ends_with("until that node reports steady-state, or an administrator unlocks it"),
        "{value}"
    );
    assert_invariant_12(&client, "default", "old");
    assert!(client.lock("default", "new").granted());
}

#[test]
fn a_cap_limits_groups_together_at_all_servers() {
    let etcd = Etcd::start();
    let more = "[lock]\ndefault_slots = 5\n[[lock.groups]]\nname = \"a\"\n[[lock.groups]]\nname = \"b\"\n\
                [[lock.groups]]\nname = \"c\"\n\
                [[lock.caps]]\nname = \"two\"\ngroups = [\"a\", \"b\", \"c\"]\nmax_held = 2\n\
                [[lock.caps]]\nname = \"one\"\ngroups = [\"b\", \"c\"]\nmax_groups = 1\n";
    let servers = [(); 2].map(|()| Airlock::on_etcd(&etcd.endpoints(), more));
    let [first, second] = servers.each_ref().map(Airlock::client);
    assert!(first.lock("b", "1").granted());
    assert_eq!(
        refused(&second.lock("c", "2"), "cap_reached"),
        "the cap \"one\" is reached: only 1 of its groups may have holders at a time; group \"c\" grants a lock once the \
         other group has none"
    );
    assert!(second.lock("b", "3").granted(), "the same group");
    assert_eq!(
        refused(&first.lock("a", "4"), "cap_reached"),
        "the cap \"two\" is reached: only 2 nodes of its groups may hold a slot at a time; group \"a\" grants a lock once \
         one of them has released its slot"
    );
    assert_invariant_12(&first, "b", "1");
    assert!(second.lock("a", "4").granted());
    for option in ["--yes", "--dry-run"] {
        let forced = servers[0].command(&["lock", "c", "5", option]);
        let text = String::from_utf8(forced.stderr).unwrap();
        assert_eq!(forced.status.code(), Some(1), "{option}");
        assert!(text.contains("cap \"two\" is reached"), "{text}");
    }
    // A cap that cannot be evaluated refuses new locks, and nothing else.
    etcd.put("com.coreos.airlock/groups/c/v1/semaphore", "damaged");
    assert!(second.unlock("b", "3").granted());
    let value = refused(&second.lock("b", "6"), "cap_reached");
    assert!(value.contains("cannot be evaluated"), "{value}");
    assert_invariant_12(&second, "a", "4");
}

#[test]
fn a_cap_holds_in_the_embedded_store_and_ends_with_a_reload() {
    let groups = "[[lock.groups]]\nname = \"a\"\n[[lock.groups]]\nname = \"b\"\n";
    let cap = "[[lock.caps]]\nname = \"one\"\ngroups = [\"a\", \"b\"]\nmax_held = 1\n";
    let mut airlock = Airlock::start(&config(&format!("{groups}{cap}")));
    let client = airlock.client();
    assert!(client.lock("a", "1").granted());
    refused(&client.lock("b", "2"), "cap_reached");
    airlock.reload(&config(groups));
    airlock.wait_for_log("changes=caps");
    assert!(client.lock("b", "2").granted());
    let overridden = airlock.command(&["override", "a", "--for", "1h", "--yes"]);
    let text = String::from_utf8(overridden.stderr).unwrap();
    assert!(
        text.starts_with("warning: group a has no windows, freezes or gates in ")
            && text.ends_with("so there is nothing to override\n"),
        "{text}"
    );
}
