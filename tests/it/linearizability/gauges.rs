//! After the last fault, every server shows what is in the store.

use super::note;
use super::record::Group;
use airlock_test_support::airlock::Airlock;
use airlock_test_support::eventually;

/// The slots and the holders of a group.
pub(crate) type Contents = (u64, Vec<String>);

/// Waits until the gauges, `/v1/status` and the page of every server equal the store.
pub(crate) fn show_the_store<'a>(
    airlocks: impl IntoIterator<Item = &'a Airlock>,
    groups: &[Group],
    mut stored: impl FnMut(&Group) -> Contents,
) {
    let airlocks: Vec<&Airlock> = airlocks.into_iter().collect();
    for group in groups {
        let mut last = String::new();
        eventually(&format!("the gauges of group {}", group.name), || {
            let stored = stored(group);
            for airlock in &airlocks {
                let gauges = shown_by(airlock, group.name);
                let page = shown_on(&airlock.status("/").1, group.name);
                let text = format!("store {stored:?}, server {gauges:?}, page {page:?}");
                if last != text {
                    last.clone_from(&text);
                    note(&format!("  group {}: {text}", group.name));
                }
                gauges.filter(|shown| *shown == stored)?;
                let (caption, holders) = page?;
                (caption == caption_of(&stored) && holders == stored.1).then_some(())?;
            }
            Some(())
        });
    }
}

/// Returns what the page says of a group with these slots and holders.
fn caption_of((slots, holders): &Contents) -> String {
    let held = holders.len();
    match slots {
        0 => format!("{held} held"),
        slots => format!("{held} of {slots}"),
    }
}

/// Returns the caption of the slots and the holders of a group on a page.
fn shown_on(page: &str, group: &str) -> Option<(String, Vec<String>)> {
    let mut rows = page.split("<details class=\"group").skip(1);
    let row = rows.find(|row| row.contains(&format!("<b>{group}</b>")))?;
    let caption = row.split("<span class=\"number\">").nth(1)?;
    let caption = caption.split('<').next()?.to_owned();
    let holders = row.split("<tr data-key=\"").skip(1);
    let mut holders: Vec<String> = holders
        .map(|rest| rest.split('"').next().map(str::to_owned))
        .collect::<Option<_>>()?;
    // The page lists the oldest lock first.
    holders.sort();
    Some((caption, holders))
}

/// Returns the slots and holders of a group that a server shows, if its gauges agree with its status.
fn shown_by(airlock: &Airlock, group: &str) -> Option<Contents> {
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
