//! The inspection of the store at the start, as `airlock check-config --online` does it. It logs what an operator should
//! know, and never keeps the server from starting.

use crate::config::{Settings, StoreSettings};
use crate::store::inspect::inspect;

/// Inspects the embedded store.
///
/// SUBTLE: the caller opens the store afterwards. Beside an open store, the inspection would drop the locks of SQLite.
pub(crate) async fn inspect_embedded(settings: &Settings) {
    if let StoreSettings::Embedded { .. } = settings.store {
        inspect(settings).await.log();
    }
}

/// Inspects etcd in a task that ends by itself. No request and no other task waits for it.
pub(crate) fn inspect_etcd(settings: &Settings) {
    if let StoreSettings::Etcd(_) = settings.store {
        let settings = settings.clone();
        tokio::spawn(async move { inspect(&settings).await.log() });
    }
}
