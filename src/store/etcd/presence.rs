//! The documents of servers: three keys for each, with leases.
//!
//! etcd keeps every version of a key until it is compacted, so an unchanged document is not written again. That its server
//! runs shows in a second key, whose lease expires soon: to keep a lease alive writes nothing. The third key tells when
//! the server was last seen.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_client::{Client, Error, GetOptions, KeyValue, PutOptions, Txn, TxnOp};
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::cluster::Cluster;
use super::keys::{self, ServerKey};
use super::response::Kept;
use super::transaction::{MAX_RESPONSE, transact};
use crate::store::StoreError;
use crate::store::presence::{INTERVAL, KEPT, Liveness, MAX_DOCUMENT, MAX_SILENCE, Published};

/// The interval at which the time is written: the precision with which it tells when a server that is gone was last seen.
const SEEN_INTERVAL: Duration = Duration::from_secs(300);

/// A document is kept for one [`INTERVAL`] more for each of so many bytes, because etcd keeps all its versions: one that
/// changes all the time adds at most some 400 bytes per second.
const BYTES_PER_INTERVAL: usize = 4096;

/// The time without attempts after etcd has denied a write to the user, who may use the keys of groups only: etcd logs
/// each of them.
const AFTER_DENIAL: Duration = Duration::from_secs(600);

/// The documents in one cluster.
#[derive(Default)]
pub(super) struct Presence {
    own: Mutex<Own>,
    /// The documents of all servers as they were read last, so that only those that have changed are read again.
    known: Mutex<BTreeMap<String, Known>>,
}

/// The keys of this server.
#[derive(Default)]
struct Own {
    leases: Leases,
    /// The keys beside the document as they were written last; `None` if they may not be there.
    marks: Option<Marks>,
    /// The document as it was written last; `None` if it is not there.
    document: Option<Written>,
    /// When etcd denied a write, and its error.
    denied: Option<(Instant, StoreError)>,
}

/// The leases of the keys of this server.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Leases {
    /// That of the key that shows that the server runs.
    alive: Option<i64>,
    /// That of the other keys.
    kept: Option<i64>,
}

/// The keys beside the document.
struct Marks {
    server: String,
    leases: Leases,
    at: Instant,
}

/// A document that was written.
struct Written {
    server: String,
    lease: Option<i64>,
    document: String,
    /// The time of the attempt.
    at: Instant,
    /// Whether etcd has confirmed it.
    is_confirmed: bool,
}

/// The revisions of the keys of a server.
#[derive(Default)]
struct Found {
    document: Option<i64>,
    seen: Option<i64>,
    is_alive: bool,
}

/// A document that was read.
struct Known {
    /// `None` if it is too large.
    document: Option<Arc<str>>,
    modified: i64,
    /// When its server was last seen, with the revision of that key, once the server was gone.
    last_seen: Option<(i64, Timestamp)>,
}

// === impl Presence ===

impl Presence {
    /// Implements [`crate::store::Store::publish`].
    pub(super) async fn publish(
        &self,
        cluster: &Cluster,
        server: &str,
        document: &str,
    ) -> Result<(), StoreError> {
        let own = &mut *self.own.lock().await;
        if let Some((at, error)) = &own.denied
            && at.elapsed() < AFTER_DENIAL
        {
            return Err(error.clone());
        }
        own.denied = None;
        own.leases.renew(cluster).await?;
        let now = Instant::now();
        let is_due = own.is_document_due(server, document, now);
        if !is_due && own.is_marked(server, now) {
            return Ok(());
        }
        let Leases { alive, kept } = own.leases;
        let put = |key, value: String, lease: Option<i64>| {
            let options = lease.map(|lease| PutOptions::new().with_lease(lease));
            TxnOp::put(key, value, options)
        };
        let mut puts = vec![
            put(keys::server_alive(server), String::new(), alive),
            put(
                keys::server_seen(server),
                Timestamp::now().to_string(),
                kept,
            ),
        ];
        own.marks = None;
        if is_due {
            puts.push(put(keys::server_document(server), document.into(), kept));
            own.document = Some(Written {
                server: server.to_owned(),
                lease: kept,
                document: document.to_owned(),
                at: now,
                is_confirmed: false,
            });
        }
        let write = |client| transact(client, Txn::new().and_then(puts.clone()));
        if let Err(error) = cluster.call_aside(write).await {
            if let StoreError::Rejected(_) = error {
                own.denied = Some((now, error.clone()));
            }
            return Err(error);
        }
        own.marks = Some(Marks {
            server: server.to_owned(),
            leases: own.leases,
            at: now,
        });
        if let Some(written) = own.document.as_mut().filter(|_| is_due) {
            written.is_confirmed = true;
        }
        Ok(())
    }

    /// Implements [`crate::store::Store::withdraw`]. The keys end with their leases, except those that another server has
    /// written since under the same name: it has leases of its own.
    pub(super) async fn withdraw(&self, cluster: &Cluster) -> Result<(), StoreError> {
        let own = mem::take(&mut *self.own.lock().await);
        // Without its document, a server is not listed.
        for lease in [own.leases.kept, own.leases.alive].into_iter().flatten() {
            let revoke = |client: Client| async move { client.lease_client().revoke(lease).await };
            cluster.call_aside(revoke).await?;
        }
        Ok(())
    }

    /// Implements [`crate::store::Store::published`].
    pub(super) async fn published(&self, cluster: &Cluster) -> Result<Vec<Published>, StoreError> {
        let mut servers: BTreeMap<String, Found> = BTreeMap::new();
        let options = GetOptions::new().with_prefix().with_keys_only();
        for entry in get(cluster, keys::SERVERS.into(), options).await? {
            let revision = entry.mod_revision();
            match entry.key_str().ok().and_then(keys::parse_server) {
                Some(ServerKey::Document(server)) => {
                    servers.entry(server).or_default().document = Some(revision);
                }
                Some(ServerKey::Seen(server)) => {
                    servers.entry(server).or_default().seen = Some(revision);
                }
                Some(ServerKey::Alive(server)) => {
                    servers.entry(server).or_default().is_alive = true;
                }
                None => {}
            }
        }
        self.own.lock().await.compare(&servers);
        let known = &mut *self.known.lock().await;
        read_changed(cluster, &servers, known).await?;
        known.retain(|server, _| {
            let found = servers.get(server);
            found.is_some_and(|found| found.document.is_some())
        });
        let mut published = Vec::new();
        for (server, known) in known {
            let (Some(found), Some(document)) = (servers.get(server), known.document.clone())
            else {
                continue;
            };
            let liveness = match found.is_alive {
                true => Liveness::Alive,
                false => Liveness::Gone {
                    last_seen: known.last_seen(cluster, server, found.seen).await,
                },
            };
            published.push(Published {
                server: server.clone(),
                document,
                liveness,
            });
        }
        Ok(published)
    }
}

// === impl Own ===

impl Own {
    /// Reports whether `document` has to be written now.
    fn is_document_due(&self, server: &str, document: &str, now: Instant) -> bool {
        let Some(written) = &self.document else {
            return true;
        };
        let is_there = written.server == server && written.lease == self.leases.kept;
        !is_there || written.is_replaced_by(document, now)
    }

    /// Reports whether the keys beside the document need not be written.
    fn is_marked(&self, server: &str, now: Instant) -> bool {
        self.marks.as_ref().is_some_and(|marks| {
            marks.server == server
                && marks.leases == self.leases
                && now.duration_since(marks.at) < SEEN_INTERVAL
        })
    }

    /// Compares with what is in etcd: an operator, or an earlier process of this server, may have deleted keys.
    fn compare(&mut self, servers: &BTreeMap<String, Found>) {
        let found = |server: &str| servers.get(server);
        self.document.take_if(|written| {
            let found = found(&written.server);
            written.is_confirmed && found.is_none_or(|found| found.document.is_none())
        });
        self.marks.take_if(|marks| {
            found(&marks.server).is_none_or(|found| !found.is_alive || found.seen.is_none())
        });
    }
}

// === impl Written ===

impl Written {
    /// Reports whether to write `document` in its place: the outcome of an attempt that failed may be unknown, so it
    /// counts like a success.
    fn is_replaced_by(&self, document: &str, now: Instant) -> bool {
        let intervals = u32::try_from(self.document.len() / BYTES_PER_INTERVAL);
        let pause = INTERVAL * intervals.unwrap_or(u32::MAX);
        let is_current = self.is_confirmed && self.document == document;
        !is_current && now.duration_since(self.at) >= pause
    }
}

// === impl Leases ===

impl Leases {
    /// Keeps both leases alive. Replaces those that do not exist any more, as after etcd was restored from a backup.
    async fn renew(&mut self, cluster: &Cluster) -> Result<(), StoreError> {
        for (lease, time) in [(&mut self.alive, MAX_SILENCE), (&mut self.kept, KEPT)] {
            let exists = match *lease {
                Some(id) => keep(cluster, id).await?,
                None => false,
            };
            if !exists {
                *lease = None;
                *lease = Some(grant(cluster, time).await?);
            }
        }
        Ok(())
    }
}

// === impl Known ===

impl Known {
    /// Returns when the server, which is gone, was last seen. `revision` is that of the key that tells.
    async fn last_seen(
        &mut self,
        cluster: &Cluster,
        server: &str,
        revision: Option<i64>,
    ) -> Option<Timestamp> {
        let revision = revision?;
        match self.last_seen {
            Some((known, at)) if known == revision => Some(at),
            _ => {
                let seen = get(cluster, keys::server_seen(server), GetOptions::new()).await;
                let seen = seen.ok()?;
                let at = seen.first()?.value_str().ok()?.parse().ok()?;
                self.last_seen = Some((revision, at));
                Some(at)
            }
        }
    }
}

/// Reads the documents that are not known, or have changed.
async fn read_changed(
    cluster: &Cluster,
    servers: &BTreeMap<String, Found>,
    known: &mut BTreeMap<String, Known>,
) -> Result<(), StoreError> {
    let changed = servers.iter().filter_map(|(server, found)| {
        let is_known = |revision: &i64| {
            let known = known.get(server);
            known.is_some_and(|known| known.modified == *revision)
        };
        found.document.filter(|revision| !is_known(revision))
    });
    let Some(oldest) = changed.min() else {
        return Ok(());
    };
    let options = GetOptions::new()
        .with_prefix()
        .with_min_mod_revision(oldest);
    for entry in get(cluster, keys::SERVERS.into(), options).await? {
        if let Some(ServerKey::Document(server)) = entry.key_str().ok().and_then(keys::parse_server)
        {
            let text = || String::from_utf8_lossy(entry.value()).into();
            let found = Known {
                document: (entry.value().len() <= MAX_DOCUMENT).then(text),
                modified: entry.mod_revision(),
                last_seen: None,
            };
            known.insert(server, found);
        }
    }
    Ok(())
}

/// Reads keys of servers. No lock depends on them, so the state of any member is good enough.
async fn get(
    cluster: &Cluster,
    key: String,
    options: GetOptions,
) -> Result<Vec<KeyValue>, StoreError> {
    let options = options.with_serializable();
    let get = |client: Client| {
        let (key, options) = (key.clone(), options.clone());
        async move {
            let client = client.kv_client();
            let mut client = client.max_decoding_message_size(MAX_RESPONSE);
            client.get(key, Some(options)).await
        }
    };
    Ok(cluster.call_aside(get).await?.take_kvs())
}

async fn grant(cluster: &Cluster, time: Duration) -> Result<i64, StoreError> {
    let seconds = time.as_secs().cast_signed();
    let grant = |client: Client| async move { client.lease_client().grant(seconds, None).await };
    let response = cluster.call_aside(grant).await?;
    Ok(response.id())
}

/// Keeps a lease alive. Reports whether it exists.
async fn keep(cluster: &Cluster, lease: i64) -> Result<bool, StoreError> {
    let call = |client: Client| async move {
        match client.lease_client().keep_alive(lease).await {
            Ok(_) => Ok(Kept(true)),
            Err(Error::LeaseKeepAliveError(_)) => Ok(Kept(false)),
            Err(error) => Err(error),
        }
    };
    Ok(cluster.call_aside(call).await?.0)
}

#[cfg(test)]
mod tests;
