//! Nodes that coreos/airlock granted a lock under an id that Airlock does not accept for a new lock.

use airlock_test_support::airlock::Airlock;
use airlock_test_support::coreos_airlock::{CoreosAirlock, Reply};
use airlock_test_support::etcd::Etcd;
use airlock_test_support::eventually;

const KEY: &str = "com.coreos.airlock/groups/default/v1/semaphore";

/// A long id, one that forges a line of the log and controls a terminal, and one that looks like `ab`.
fn ids() -> [String; 3] {
    let forged = "a\nlevel=error msg=\"forged\"\u{1b}[31m<script>\u{85}";
    let invisible = "a\u{200b}b\u{202e}";
    ["é".repeat(5_000), forged.to_owned(), invisible.to_owned()]
}

/// Returns the number of writes of the key since its creation.
fn writes(etcd: &Etcd) -> String {
    let found = etcd.ctl(&["get", KEY, "--write-out=json"]);
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    found["kvs"][0]["version"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_coreos_airlock_granted_a_lock_under_any_id_is_confirmed_and_released() {
    let etcd = Etcd::start();
    let mut theirs = CoreosAirlock::new(&etcd.endpoints(), "default", 5).await;
    for id in ids() {
        assert_eq!(theirs.lock(&id).await, Reply::Granted);
    }
    tokio::task::block_in_place(|| {
        let before = etcd.get(KEY);
        let airlock = Airlock::on_etcd(&etcd.endpoints(), "");
        let client = airlock.client();
        for id in ids() {
            // Invariant 12: a holder that asks again is not refused.
            assert!(client.lock("default", &id).granted());
        }
        assert_eq!(etcd.get(KEY), before);
        for id in ids() {
            assert!(client.unlock("default", &id).granted());
        }
        assert_eq!(etcd.get(KEY), r#"{"total_slots":5,"holders":[]}"#);

        // Without a slot, these ids are refused as ever, and nothing is written.
        let before = writes(&etcd);
        for (id, reason) in ids().iter().zip([
            "client ID of 10000 bytes; the maximum is 253",
            "client ID with the control or format character U+000A at byte 1",
            "client ID with the control or format character U+200B at byte 1",
        ]) {
            for answer in [client.lock("default", id), client.unlock("default", id)] {
                let refused = (answer.status, &*answer.kind());
                assert_eq!(refused, (400, "invalid_client_identity"));
                let expected = format!("failed to validate client identity: {reason}");
                assert_eq!(answer.value(), expected);
            }
        }
        assert_eq!(writes(&etcd), before);
        let (_, page) = airlock.status("/");
        assert!(page.contains("no nodes waiting"), "{page}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_12_such_a_node_is_confirmed_and_released_outside_the_windows_and_during_a_pause()
{
    let etcd = Etcd::start();
    let mut theirs = CoreosAirlock::new(&etcd.endpoints(), "default", 2).await;
    let [id, ..] = ids();
    assert_eq!(theirs.lock(&id).await, Reply::Granted);
    tokio::task::block_in_place(|| {
        let airlock = Airlock::on_etcd(&etcd.endpoints(), "");
        let paused = airlock.command(&["pause", "default", "--yes"]);
        assert!(paused.status.success(), "{paused:?}");
        assert!(airlock.client().lock("default", &id).granted());
        assert!(airlock.client().unlock("default", &id).granted());
        assert_eq!(airlock.client().lock("default", &id).status, 400);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn invariant_8_no_such_id_harms_the_log_the_page_the_metrics_or_a_terminal() {
    let etcd = Etcd::start();
    let mut theirs = CoreosAirlock::new(&etcd.endpoints(), "default", 3).await;
    for id in ids() {
        assert_eq!(theirs.lock(&id).await, Reply::Granted);
    }
    tokio::task::block_in_place(|| {
        let airlock = Airlock::on_etcd(&etcd.endpoints(), "");
        let client = airlock.client();
        let name = "airlock_database_semaphore_lock_holders{group=\"default\"}";
        eventually("all holders to be known", || {
            (airlock.metric(name) == Some(3.0)).then_some(())
        });
        let (_, page) = airlock.status("/");
        let (_, metrics) = airlock.status("/metrics");
        let (_, json) = airlock.status("/v1/status");
        let shown = airlock.command(&["get", "slots"]);
        for id in ids() {
            assert!(client.lock("default", &id).granted());
            assert!(client.unlock("default", &id).granted());
            assert_eq!(client.lock("default", &id).status, 400);
        }
        let log = airlock.log();

        assert!(page.contains(&format!("{}…", "é".repeat(253))), "{page}");
        assert_eq!(page.matches("<script>").count(), 1, "{page}");
        for text in [&*page, &*log, &*String::from_utf8_lossy(&shown.stdout)] {
            let is_control = |c: char| c.is_control() && c != '\n';
            assert!(!text.contains(is_control), "{text}");
            assert!(
                !text.lines().any(|line| line.starts_with("level=error")),
                "{text}"
            );
        }
        assert!(
            !metrics.contains("éé") && !metrics.contains("forged"),
            "{metrics}"
        );
        let longest = log.lines().map(str::len).max();
        assert!(longest < Some(1_000), "{longest:?}");
        // Programs need the whole id.
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let holders = json["groups"][0]["lock"]["holders"].as_array().unwrap();
        let shown: Vec<_> = holders
            .iter()
            .map(|holder| holder["id"].as_str().unwrap())
            .collect();
        let [long, forged, invisible] = ids();
        assert_eq!(shown, [&*forged, &*invisible, &*long]);
    });
}
