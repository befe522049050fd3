//! What the configuration means: defaults applied, everything checked once. One file a section.

mod groups;
mod limits;
mod listen;
mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use super::document::Notes;
use super::file::File;
use crate::store::GroupName;
pub use groups::GroupSettings;
pub use limits::Limits;
pub use listen::{ListenSettings, TlsSettings};
pub use store::{EtcdSettings, StoreSettings};

/// A configuration that makes sense.
#[derive(Clone, Debug)]
pub struct Settings {
    pub service: ListenSettings,
    /// `None`: no status listener.
    pub status: Option<ListenSettings>,
    pub store: StoreSettings,
    /// How long a request may take for all its work with the store.
    pub transaction_timeout: Duration,
    pub groups: BTreeMap<GroupName, GroupSettings>,
    pub limits: Limits,
}

// === impl Settings ===

impl Settings {
    /// Checks everything, noting every problem. Settings come back only to let all of it be checked; they
    /// are good only if no error was noted.
    pub(super) fn check(file: File, notes: &mut Notes<'_>) -> Option<Self> {
        let service = listen::service(notes, file.service);
        let status = listen::status(notes, file.status);
        let store = store::check(notes, file.etcd3, file.embedded);
        let groups = groups::check(notes, file.lock);
        let limits = limits::check(notes, file.limits);
        let (store, transaction_timeout) = store?;
        Some(Settings {
            service: service?,
            status: status?,
            store,
            transaction_timeout,
            groups,
            limits,
        })
    }
}
