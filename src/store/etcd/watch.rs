//! Watches the values of all groups with one etcd watch.

use std::collections::HashMap;
use std::convert::Infallible;

use etcd_client::{Event, EventType, KeyValue, WatchOptions, WatchStream};

use super::cluster::{Cluster, Effect};
use super::error::EtcdError;
use super::keys;
use super::transaction::{self, present};
use crate::lock::GroupName;
use crate::lock::codec::{Revision, Stored};
use crate::store::{Report, StoreError, Update};

/// Implements [`crate::store::Store::watch`].
pub(super) async fn watch(
    cluster: &Cluster,
    groups: &[GroupName],
    report: &mut Report<'_>,
) -> Result<Infallible, StoreError> {
    // The watch starts after the oldest of these reads, so it contains every later change.
    let mut from = i64::MAX;
    for group in groups {
        let current = transaction::read(cluster, group).await?;
        from = from.min(current.as_of.0 + 1);
        report(group, Update::Current(current));
    }
    let by_key: HashMap<String, &GroupName> = groups
        .iter()
        .map(|group| (keys::semaphore(group), group))
        .collect();
    let mut watch = cluster
        .call(Effect::Reads, |mut client| async move {
            let options = WatchOptions::new().with_prefix().with_start_revision(from);
            client.watch(keys::PREFIX, Some(options)).await
        })
        .await?;
    loop {
        for (group, change) in next_changes(&mut watch, &by_key).await? {
            report(group, Update::Change(change));
        }
    }
}

/// Waits for the next response of the watch, and returns its changes.
async fn next_changes<'a>(
    watch: &mut WatchStream,
    by_key: &HashMap<String, &'a GroupName>,
) -> Result<Vec<(&'a GroupName, Stored)>, StoreError> {
    let response = watch.message().await;
    let response = response
        .map_err(|error| StoreError::unreachable(EtcdError::WatchFailed(error)))?
        .ok_or_else(|| StoreError::unreachable(EtcdError::WatchClosed))?;
    if response.canceled() {
        return Err(StoreError::unreachable(EtcdError::WatchCanceled {
            reason: response.cancel_reason().to_owned(),
        }));
    }
    Ok(changes(response.events(), by_key))
}

/// Returns the values in the events of one response. etcd sends all events of one revision in the same response.
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
            let is_of_same_write =
                |kv: &&KeyValue| kv.key() == times_key.as_bytes() && kv.mod_revision() == at.0;
            let change = match event.event_type() {
                EventType::Put => {
                    let lock_times = pairs.clone().map(|(_, kv)| kv).find(is_of_same_write);
                    present(semaphore, lock_times, at)
                }
                EventType::Delete => Stored::absent(at),
            };
            Some((group, change))
        })
        .collect()
}
