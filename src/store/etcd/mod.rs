//! The distributed store: an etcd cluster, with the keys and values of coreos/airlock.

mod class;
mod client;
mod cluster;
mod connection;
mod contention;
mod credentials;
mod error;
mod identity;
mod inspect;
pub(crate) mod keys;
mod presence;
mod response;
mod transaction;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::presence::Published;
use super::{CommitOutcome, Endpoints, Location, Member, Notice, Report, Store, StoreError};
use crate::lock::GroupName;
use crate::lock::codec::{Stored, Value};
use crate::text::escape::shell_word;
use cluster::Cluster;
use contention::Announcer;
pub use credentials::{Credentials, CredentialsError};
use error::EtcdError;
pub(crate) use inspect::inspect;
use presence::Presence;

/// Reports whether no endpoint replied, in which case most likely etcd does not run.
pub(crate) fn is_down(error: &StoreError) -> bool {
    let cause = error.cause();
    cause.downcast_ref().is_some_and(EtcdError::is_down)
}

/// A store in an etcd cluster.
pub struct EtcdStore {
    cluster: Cluster,
    credentials: Arc<Credentials>,
    announcer: Announcer,
    presence: Presence,
}

// === impl EtcdStore ===

impl EtcdStore {
    /// Creates a store in the cluster with these endpoints (URLs with scheme). It connects at the first call. `timeout`
    /// is the time for one call.
    pub fn new(endpoints: Vec<String>, credentials: Arc<Credentials>, timeout: Duration) -> Self {
        EtcdStore {
            cluster: Cluster::new(endpoints, &credentials, timeout),
            credentials,
            announcer: Announcer::new(timeout),
            presence: Presence::default(),
        }
    }

    /// Returns the options with which etcdctl connects as this server does.
    fn etcdctl_options(&self) -> String {
        let credentials = self.credentials.etcdctl_options();
        let endpoints: Vec<&str> = self.cluster.urls().collect();
        let endpoints = ["--endpoints".to_owned(), endpoints.join(",")];
        let options = endpoints.iter().chain(&credentials);
        let options: Vec<String> = options.map(|word| shell_word(word)).collect();
        options.join(" ")
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn read(&self, group: &GroupName) -> Result<Stored, StoreError> {
        transaction::read(&self.cluster, group).await
    }

    async fn commit(
        &self,
        group: &GroupName,
        expected: &Stored,
        new: Option<&Value>,
        also: &[Member<'_>],
    ) -> Result<CommitOutcome, StoreError> {
        transaction::commit(&self.cluster, group, expected, new, also).await
    }

    async fn check_writable(&self, group: &GroupName) -> Result<(), StoreError> {
        transaction::check_writable(&self.cluster, group).await
    }

    async fn verify(&self) {
        self.cluster.verify_endpoints().await;
    }

    fn notices(&self) -> Vec<Notice> {
        let user = self.credentials.settings().user.as_ref();
        self.cluster.notices(user.map(|user| user.name.as_str()))
    }

    fn endpoints(&self) -> Option<Endpoints> {
        self.cluster.endpoints()
    }

    fn accept_current(&self) {
        self.cluster.accept_current();
    }

    fn location(&self, group: &GroupName) -> Location {
        let key = keys::semaphore(group);
        Location {
            repair_command: format!(
                r#"ETCDCTL_API=3 etcdctl {} put {} '{{"total_slots":SLOTS,"holders":["ID"]}}'"#,
                self.etcdctl_options(),
                shell_word(&key)
            ),
            description: format!("etcd key {key}"),
        }
    }

    async fn announce_contention(&self, group: &GroupName, round_trip: Duration) {
        let announced = self.announcer.announce(&self.cluster, group, round_trip);
        announced.await;
    }

    async fn groups(&self) -> Result<Vec<GroupName>, StoreError> {
        transaction::groups(&self.cluster).await
    }

    async fn publish(&self, server: &str, document: &str) -> Result<(), StoreError> {
        self.presence.publish(&self.cluster, server, document).await
    }

    async fn withdraw(&self, _server: &str) -> Result<(), StoreError> {
        self.presence.withdraw(&self.cluster).await
    }

    async fn published(&self) -> Result<Vec<Published>, StoreError> {
        self.presence.published(&self.cluster).await
    }

    async fn watch(&self, groups: &[GroupName], report: &mut Report<'_>) -> StoreError {
        match watch::watch(&self.cluster, &self.announcer, groups, report).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }
}

#[cfg(test)]
mod fake;

#[cfg(test)]
mod tests;
