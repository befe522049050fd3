//! Announcements of contention: a small key beside the semaphore, by which a server that keeps losing informs the others.

use std::time::{Duration, Instant};

use etcd_client::Client;
use parking_lot::Mutex;
use serde::Deserialize;

use super::cluster::{Cluster, Effect};
use super::keys;
use crate::lock::GroupName;
use crate::store::StoreError;

/// The time without announcements after etcd has refused one: the user may write the other keys of a group, but not
/// this one. A refused call goes to every endpoint, which is not worth it once a second.
const AFTER_REFUSAL: Duration = Duration::from_secs(60);

/// The announcements of one server.
pub(super) struct Announcer {
    /// Tells the announcements of this server from those of others.
    server: u64,
    /// The maximum round trip of another server that counts.
    max_round_trip: Duration,
    /// The time at which etcd refused an announcement.
    refused: Mutex<Option<Instant>>,
}

/// The value of the key.
#[derive(Debug, Deserialize)]
struct Announcement {
    server: String,
    round_trip_ms: u64,
}

// === impl Announcer ===

impl Announcer {
    /// Creates the announcer of a server whose calls take at most `timeout`. Other servers delay this one by a small
    /// fraction of it.
    pub(super) fn new(timeout: Duration) -> Self {
        Announcer {
            server: fastrand::u64(..),
            max_round_trip: timeout / 24,
            refused: Mutex::default(),
        }
    }

    /// Implements [`crate::store::Store::announce_contention`].
    pub(super) async fn announce(
        &self,
        cluster: &Cluster,
        group: &GroupName,
        round_trip: Duration,
    ) {
        let refused = *self.refused.lock();
        if refused.is_some_and(|at| at.elapsed() < AFTER_REFUSAL) {
            return;
        }
        let value = self.encode(round_trip);
        let put = |client: Client| {
            let (key, value) = (keys::contention(group), value.clone());
            async move { client.kv_client().put(key, value, None).await }
        };
        if let Err(error) = cluster.call(Effect::Writes, put).await {
            if let StoreError::Rejected(_) = error {
                *self.refused.lock() = Some(Instant::now());
            }
            tracing::debug!(%group, reason = %error, "contention could not be announced");
        }
    }

    /// Returns the round trip in an announcement of another server.
    pub(super) fn of_another(&self, value: &[u8]) -> Option<Duration> {
        let announcement: Announcement = serde_json::from_slice(value).ok()?;
        let round_trip = Duration::from_millis(announcement.round_trip_ms);
        (announcement.server != self.id()).then(|| round_trip.min(self.max_round_trip))
    }

    fn encode(&self, round_trip: Duration) -> Vec<u8> {
        let round_trip_ms = u64::try_from(round_trip.as_millis()).unwrap_or(u64::MAX);
        let server = self.id();
        format!(r#"{{"server":"{server}","round_trip_ms":{round_trip_ms}}}"#).into()
    }

    fn id(&self) -> String {
        format!("{:016x}", self.server)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{FakeEtcd, Reply};
    use super::*;

    #[test]
    fn an_announcement_of_another_server_counts_up_to_its_bound() {
        let announcer = || Announcer::new(Duration::from_millis(2_400));
        let (this, other) = (announcer(), announcer());
        let millis = Duration::from_millis;
        for (announced, counted) in [(0, 0), (99, 99), (100, 100), (101, 100), (u64::MAX, 100)] {
            let value = other.encode(millis(announced));
            assert_eq!(this.of_another(&value), Some(millis(counted)));
            assert_eq!(other.of_another(&value), None, "its own announcement");
        }
        assert_eq!(this.of_another(b"{}"), None);
    }

    #[tokio::test]
    async fn a_refused_announcement_is_not_repeated_soon() {
        let denied = Reply::Status("etcdserver: permission denied");
        let etcd = FakeEtcd::start([denied]).await;
        let (cluster, announcer) = (etcd.cluster(), Announcer::new(Duration::from_secs(1)));
        let group = GroupName::new("g").unwrap();
        for _ in 0..2 {
            let round_trip = Duration::from_millis(1);
            announcer.announce(&cluster, &group, round_trip).await;
        }
        assert_eq!(etcd.calls(), ["Put"]);
    }
}
