//! After the last fault, every server shows what is in the store.

use super::cluster::Cluster;
use super::note;
use super::record::GROUPS;
use airlock_test_support::airlock::Airlock;
use airlock_test_support::eventually;

/// Waits until the gauges, `/v1/status` and the page of every server equal the store.
pub(crate) fn show_the_store(cluster: &Cluster) {
    for group in &GROUPS {
        let mut last = String::new();
        eventually(&format!("the gauges of group {}", group.name), || {
            let (slots, holders) = cluster.stored(group);
            let shown = cluster.airlocks.iter().flatten();
            for airlock in shown {
                let gauges = shown_by(airlock, group.name);
                let text = format!("store {slots} {holders:?}, server {gauges:?}");
                if last != text {
                    last.clone_from(&text);
                    note(&format!("  group {}: {text}", group.name));
                }
                gauges
                    .filter(|shown| *shown == (slots, holders.clone()))
                    .map(drop)?;
                let page = airlock.status("/").1;
                holders
                    .iter()
                    .all(|id| page.contains(id.as_str()))
                    .then_some(())?;
            }
            Some(())
        });
    }
}

/// Returns the slots and holders of a group that a server shows, if its gauges agree with its status.
fn shown_by(airlock: &Airlock, group: &str) -> Option<(u64, Vec<String>)> {
    let (_, text) = airlock.status("/v1/status");
    let status: serde_json::Value = serde_json::from_str(&text).ok()?;
    let groups = status["groups"].as_array()?;
    let lock = &groups.iter().find(|known| known["name"] == group)?["lock"];
    let slots = lock["slots"].as_u64()?;
    let holders = lock["holders"].as_array()?;
    let mut holders: Vec<String> = holders
        .iter()
        .filter_map(|holder| Some(holder["id"].as_str()?.to_owned()))
        .collect();
    // The status lists the oldest lock first.
    holders.sort();
    let gauge = |name: &str| airlock.metric(&format!("{name}{{group=\"{group}\"}}"));
    let of_slots = gauge("airlock_database_semaphore_slots")?;
    let of_holders = gauge("airlock_database_semaphore_lock_holders")?;
    #[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
    let agree = of_slots == slots as f64 && of_holders == holders.len() as f64;
    agree.then_some((slots, holders))
}
