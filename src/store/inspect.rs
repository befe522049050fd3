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
    let copy = settings.clone();
    let Ok(loaded) = tokio::task::spawn_blocking(|| Credentials::load(copy)).await else {
        return StoreReport::default();
    };
    match loaded {
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    /// Inspects the store that these lines of the configuration describe.
    async fn inspected(store: &str) -> StoreReport {
        let text = format!("[service]\ntls = false\n{store}");
        let loaded = parse(Path::new("airlock.toml"), &text).unwrap();
        inspect(&loaded.settings).await
    }

    #[tokio::test]
    async fn the_configured_store_is_the_one_that_is_inspected() {
        let embedded = inspected("[embedded]\npath = \"/missing/airlock.db\"").await;
        let file = embedded.file.map(|file| file.path);
        assert_eq!(file.as_deref(), Some(Path::new("/missing/airlock.db")));
        let url = "http://127.0.0.1:0";
        let etcd = inspected(&format!("[etcd3]\nendpoints = [{url:?}]")).await;
        assert_eq!(etcd.endpoints[0].endpoint, url);
    }

    #[tokio::test]
    async fn a_password_that_cannot_be_read_is_a_finding_about_every_endpoint() {
        let report = inspected(
            "[etcd3]\nendpoints = [\"http://a:2379\", \"http://b:2379\"]\nusername = \"airlock\"\npassword_path = \"/missing/password\"",
        )
        .await;
        let [finding] = &report.findings[..] else {
            panic!("{:?}", report.findings);
        };
        assert_eq!(
            (finding.severity, finding.check),
            (Severity::Error, Check::Authentication)
        );
        assert_eq!(finding.subjects, ["http://a:2379", "http://b:2379"]);
        assert!(finding.message.contains("/missing/password"), "{finding:?}");
    }
}
