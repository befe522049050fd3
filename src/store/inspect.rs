//! Inspects the configured store, before an operator starts a server with it.

use std::sync::Arc;
use std::time::Duration;

use super::etcd::{self, Credentials};
use super::findings::{Check, Finding, Severity, StoreReport};
use super::sqlite;
use crate::config::{EtcdSettings, Settings, StoreSettings};
use crate::lock::GroupName;
use crate::text::explain::explain;

/// Inspects the configured store. Writes nothing.
///
/// SUBTLE: this process must not have the embedded store open, see [`sqlite::inspect`].
pub(crate) async fn inspect(settings: &Settings) -> StoreReport {
    let timeout = settings.transaction_timeout;
    match &settings.store {
        StoreSettings::Embedded { path } => {
            let path = path.clone();
            let inspected =
                tokio::task::spawn_blocking(move || sqlite::inspect(&path, timeout / 2));
            inspected.await.unwrap_or_default()
        }
        StoreSettings::Etcd(etcd) => match settings.groups.keys().next() {
            Some(group) => inspect_etcd(etcd, group, timeout).await,
            None => StoreReport::default(),
        },
    }
}

async fn inspect_etcd(
    settings: &EtcdSettings,
    group: &GroupName,
    timeout: Duration,
) -> StoreReport {
    match Credentials::load(settings.clone()) {
        Ok(credentials) => etcd::inspect(&Arc::new(credentials), group, timeout).await,
        Err(error) => {
            let finding = Finding {
                severity: Severity::Error,
                check: Check::Authentication,
                subjects: settings.endpoints.clone(),
                message: explain(&error),
                remedy: None,
            };
            StoreReport::new(Vec::new(), None, vec![finding])
        }
    }
}
