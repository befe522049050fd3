//! Watches the values of all groups: reads them all, then follows the changes with one etcd watch.

use std::collections::HashMap;
use std::convert::Infallible;

use etcd_client::{Event, EventType, GetOptions, KeyValue, WatchOptions, WatchStream};

use super::cluster::{Cluster, Effect};
use super::contention::Announcer;
use super::error::EtcdError;
use super::keys;
use super::transaction::{MAX_RESPONSE, get, header_revision, present};
use crate::lock::GroupName;
use crate::lock::codec::{LockTimes, Revision, Stored, Value};
use crate::store::{Report, StoreError, Update};

/// The maximum number of keys in one response: with the largest possible values, they fit into [`MAX_RESPONSE`].
const PAGE: i64 = 64;

/// A key that is watched.
#[derive(Clone, Copy)]
enum Key<'a> {
    Semaphore(&'a GroupName),
    Contention(&'a GroupName),
}

/// Implements [`crate::store::Store::watch`].
pub(super) async fn watch(
    cluster: &Cluster,
    announcer: &Announcer,
    groups: &[GroupName],
    report: &mut Report<'_>,
) -> Result<Infallible, StoreError> {
    let (found, as_of) = read_all(cluster).await?;
    for group in groups {
        let current = match found.get(&keys::semaphore(group)) {
            Some(semaphore) => present(semaphore, found.get(&keys::lock_times(group)), as_of),
            None => Stored::absent(as_of),
        };
        report(group, Update::Current(current));
    }
    drop(found);
    let keys = groups.iter().flat_map(|group| {
        let contention = (keys::contention(group), Key::Contention(group));
        [(keys::semaphore(group), Key::Semaphore(group)), contention]
    });
    let by_key: HashMap<String, Key<'_>> = keys.collect();
    let mut watch = cluster
        .call(Effect::Reads, |client| async move {
            let options = WatchOptions::new()
                .with_range(keys::prefix_end())
                .with_start_revision(as_of.0 + 1);
            let client = client.watch_client();
            let mut client = client.max_decoding_message_size(MAX_RESPONSE);
            client.watch(keys::first_of_groups(), Some(options)).await
        })
        .await?;
    loop {
        for (group, update) in next_updates(&mut watch, announcer, &by_key).await? {
            report(group, update);
        }
    }
}

/// Reads all keys as of one revision, page by page.
async fn read_all(cluster: &Cluster) -> Result<(HashMap<String, KeyValue>, Revision), StoreError> {
    let mut found = HashMap::new();
    let mut from = keys::first_of_groups().into_bytes();
    let mut as_of = None;
    loop {
        let mut options = GetOptions::new()
            .with_range(keys::prefix_end())
            .with_limit(PAGE);
        if let Some(Revision(revision)) = as_of {
            options = options.with_revision(revision);
        }
        let mut page = get(cluster, from, Some(options)).await?;
        let at = match as_of {
            Some(at) => at,
            None => header_revision(page.header())?,
        };
        as_of = Some(at);
        let more = page.more();
        let Some(last) = page.kvs().last() else {
            return Ok((found, at));
        };
        // The first possible key after the last one.
        from = [last.key(), b"\0"].concat();
        for entry in page.take_kvs() {
            if let Ok(key) = entry.key_str() {
                found.insert(key.to_owned(), entry);
            }
        }
        if !more {
            return Ok((found, at));
        }
    }
}

/// Waits for the next response of the watch, and returns its updates.
async fn next_updates<'a>(
    watch: &mut WatchStream,
    announcer: &Announcer,
    by_key: &HashMap<String, Key<'a>>,
) -> Result<Vec<(&'a GroupName, Update)>, StoreError> {
    let response = watch.message().await;
    let response = response
        .map_err(|error| StoreError::unreachable(EtcdError::WatchFailed(error)))?
        .ok_or_else(|| StoreError::unreachable(EtcdError::WatchClosed))?;
    if response.canceled() {
        let reason = response.cancel_reason().to_owned();
        let refused = reason.contains("permission denied");
        let error = EtcdError::WatchCanceled { reason };
        return Err(match refused {
            true => StoreError::rejected(error),
            false => StoreError::unreachable(error),
        });
    }
    Ok(updates(response.events(), announcer, by_key))
}

/// Returns the updates in the events of one response. etcd sends all events of one revision in the same response.
fn updates<'a>(
    events: &[Event],
    announcer: &Announcer,
    by_key: &HashMap<String, Key<'a>>,
) -> Vec<(&'a GroupName, Update)> {
    let pairs = events.iter().filter_map(|event| Some((event, event.kv()?)));
    let updates = pairs.clone().filter_map(|(event, found)| {
        let is_put = event.event_type() == EventType::Put;
        match *by_key.get(found.key_str().ok()?)? {
            Key::Semaphore(group) => {
                let at = Revision(found.mod_revision());
                let times_key = keys::lock_times(group);
                let is_of_same_write =
                    |kv: &&KeyValue| kv.key() == times_key.as_bytes() && kv.mod_revision() == at.0;
                let times = pairs.clone().map(|(_, kv)| kv).find(is_of_same_write);
                let value = || Value {
                    semaphore: found.value().to_vec(),
                    lock_times: times.map_or(LockTimes::Unreported, |times| {
                        LockTimes::Current(times.value().to_vec())
                    }),
                };
                let change = match is_put {
                    true => Stored::written(value(), at),
                    false => Stored::absent(at),
                };
                Some((group, Update::Change(change)))
            }
            Key::Contention(group) => {
                let round_trip = announcer.of_another(found.value())?;
                Some((group, Update::Contention { round_trip }))
            }
        }
    });
    updates.collect()
}

#[cfg(test)]
mod tests;
