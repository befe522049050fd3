//! What the configuration means: defaults applied, everything checked once. One file a section.

mod groups;
mod limits;
mod listen;
mod store;
mod windows;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::document::{At, Notes};
use super::file::File;
use crate::store::GroupName;
pub use groups::{GroupSettings, SlotsMismatch};
pub use limits::Limits;
pub use listen::{ListenSettings, TlsSettings};
pub use store::{EtcdSettings, EtcdUser, StoreSettings};

/// A configuration that makes sense.
#[derive(Clone, Debug)]
pub struct Settings {
    pub service: ListenSettings,
    /// The users and their passwords; `None`: nobody is asked for one.
    pub htpasswd_path: Option<PathBuf>,
    /// `None`: no status listener.
    pub status: Option<ListenSettings>,
    pub store: StoreSettings,
    /// How long a request may take for all its work with the store.
    pub transaction_timeout: Duration,
    pub groups: BTreeMap<GroupName, GroupSettings>,
    pub slots_mismatch: SlotsMismatch,
    pub limits: Limits,
}

/// A certificate chain and its key, PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    pub cert_path: PathBuf,
    pub key_path: PathBuf,
}

// === impl KeyPair ===

impl KeyPair {
    fn of(cert: At<String>, key: At<String>) -> Self {
        KeyPair {
            cert_path: cert.value.into(),
            key_path: key.value.into(),
        }
    }
}

// === impl Settings ===

impl Settings {
    /// Checks everything, noting every problem. Settings come back only to let all of it be checked; they
    /// are good only if no error was noted.
    pub(super) fn check(file: File, notes: &mut Notes<'_>) -> Option<Self> {
        let service = listen::service(notes, file.service);
        let services_pair = service
            .as_ref()
            .and_then(|service| Some(&service.listen.tls.as_ref()?.pair));
        let status = listen::status(notes, file.status, services_pair);
        let on_etcd = file.etcd3.is_some();
        let store = store::check(notes, file.etcd3, file.embedded);
        let slots_mismatch = groups::slots_mismatch(notes, file.lock.on_slots_mismatch.as_ref());
        let passwords = service
            .as_ref()
            .is_none_or(|service| service.htpasswd_path.is_some());
        let groups = groups::check(notes, file.lock, passwords, on_etcd);
        let limits = limits::check(notes, file.limits);
        let (store, transaction_timeout) = store?;
        let service = service?;
        Some(Settings {
            service: service.listen,
            htpasswd_path: service.htpasswd_path,
            status: status?,
            store,
            transaction_timeout,
            groups,
            slots_mismatch,
            limits,
        })
    }
}
