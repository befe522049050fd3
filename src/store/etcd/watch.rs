//! Following the values of all groups with one etcd watch.

use std::collections::HashMap;
use std::convert::Infallible;

use etcd_client::{Event, EventType, KeyValue, WatchOptions, WatchStream};

use super::{Effect, EtcdStore, GroupName, Report, Revision, Store as _, StoreError, Stored};
use super::{keys, present};
use crate::store::Seen;

/// See [`crate::store::Store::follow`].
pub(super) async fn follow(
    store: &EtcdStore,
    groups: &[GroupName],
    report: &mut Report<'_>,
) -> Result<Infallible, StoreError> {
    // Everything that happens after the oldest of these reads is in the watch.
    let mut from = i64::MAX;
    for group in groups {
        let current = store.read(group).await?;
        from = from.min(current.as_of.0 + 1);
        report(group, Seen::Current(current));
    }
    let by_key: HashMap<String, &GroupName> = groups
        .iter()
        .map(|group| (keys::semaphore(group), group))
        .collect();
    let mut watch = store
        .call(Effect::Reads, |mut client| async move {
            let options = WatchOptions::new().with_prefix().with_start_revision(from);
            client.watch(keys::PREFIX, Some(options)).await
        })
        .await?;
    loop {
        for (group, change) in next_changes(&mut watch, &by_key).await? {
            report(group, Seen::Change(change));
        }
    }
}

async fn next_changes<'a>(
    watch: &mut WatchStream,
    by_key: &HashMap<String, &'a GroupName>,
) -> Result<Vec<(&'a GroupName, Stored)>, StoreError> {
    let ended = |why: &str| StoreError::Unreachable(format!("the watch on etcd ended: {why}"));
    let response = watch
        .message()
        .await
        .map_err(|error| ended(&error.to_string()))?
        .ok_or_else(|| ended("the stream was closed"))?;
    if response.canceled() {
        return Err(ended(response.cancel_reason()));
    }
    Ok(changes(response.events(), by_key))
}

/// The values in a run of events. etcd never splits the events of one revision.
fn changes<'a>(
    events: &[Event],
    by_key: &HashMap<String, &'a GroupName>,
) -> Vec<(&'a GroupName, Stored)> {
    let pairs = events.iter().filter_map(|event| Some((event, event.kv()?)));
    pairs
        .clone()
        .filter_map(|(event, semaphore)| {
            let group = *by_key.get(semaphore.key_str().ok()?)?;
            let at = Revision(semaphore.mod_revision());
            let times_key = keys::lock_times(group);
            let is_its_times =
                |kv: &&KeyValue| kv.key() == times_key.as_bytes() && kv.mod_revision() == at.0;
            let change = match event.event_type() {
                EventType::Put => {
                    let lock_times = pairs.clone().map(|(_, kv)| kv).find(is_its_times);
                    present(semaphore, lock_times, at)
                }
                EventType::Delete => Stored::absent(at),
            };
            Some((group, change))
        })
        .collect()
}
