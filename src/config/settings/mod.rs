//! The meaning of the configuration: defaults, and constraints on several keys. One file per section.

mod access;
mod caps;
mod digest;
mod endpoint;
mod freezes;
mod gate;
mod gates;
mod groups;
mod key_pair;
mod limits;
mod listen;
mod notify;
mod ports;
mod store;
mod url;
mod windows;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::diagnostic::Diagnostics;
use super::field::Field;
use super::schema::File;
use crate::lock::GroupName;
pub(crate) use caps::CapSettings;
pub(crate) use gate::{GateCredentials, GateSettings, GateTarget};
pub(crate) use gates::ConfiguredGate;
pub(crate) use groups::{GroupSettings, SlotsMismatch};
pub use key_pair::KeyPair;
pub(crate) use limits::Limits;
pub(crate) use listen::{ListenSettings, TlsSettings};
pub(crate) use notify::{EventKind, NotifySettings};
pub use store::{ClusterId, EtcdSettings, EtcdUser, MAX_ETCD_SLOTS};
pub(crate) use store::{StoreSettings, TooManySlots};
pub(crate) use url::{UrlError, is_exposed, parse as parse_url, shown as shown_url};

/// The settings of a server.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The listener for nodes.
    pub(crate) service: ListenSettings,
    /// The file with the users and their passwords; `None`: clients need no password.
    pub(crate) htpasswd_path: Option<PathBuf>,
    /// The path in front of those of FleetLock, such as `/fleetlock`.
    pub(crate) path_prefix: Option<String>,
    /// The proxies from which the headers `Forwarded` and `X-Forwarded-For` are trusted.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// The file with the names of nodes; `None`: only ids are shown.
    pub(crate) node_names_path: Option<PathBuf>,
    /// The status listener; `None`: it is disabled.
    pub(crate) status: Option<ListenSettings>,
    /// The host names, in lower case, that requests to the status listener may be for; `None`: all.
    pub(crate) allowed_hosts: Option<Vec<String>>,
    /// The store of the locks.
    pub(crate) store: StoreSettings,
    /// The time that a request may spend on the store altogether.
    pub(crate) transaction_timeout: Duration,
    /// The groups, among them the default group.
    pub(crate) groups: BTreeMap<GroupName, GroupSettings>,
    /// The limits that several groups share.
    pub(crate) caps: Vec<CapSettings>,
    /// All gates of the groups, in the order of the file.
    pub(crate) gates: Vec<ConfiguredGate>,
    /// The reaction to groups that have other slots in the store.
    pub(crate) slots_mismatch: SlotsMismatch,
    /// The limits on the resources that clients can use.
    pub(crate) limits: Limits,
    /// The receiver of events; `None`: events are sent nowhere.
    pub(crate) notify: Option<NotifySettings>,
}

// === impl Settings ===

impl Settings {
    /// Returns the digest of what all servers of a fleet should have in common, in 16 hexadecimal digits.
    pub(crate) fn digest(&self) -> String {
        digest::of_groups(&self.groups, &self.caps, self.slots_mismatch)
    }

    /// Checks the whole file. The settings are valid only if no error was reported. Without exactly one store, that one
    /// has no path.
    pub(super) fn check(diagnostics: &mut Diagnostics, file: File) -> Self {
        let service = listen::service(diagnostics, file.service);
        let allowed_hosts = match &file.status {
            Field::Present(status) => {
                access::allowed_hosts(diagnostics, &status.value.allowed_hosts)
            }
            Field::Absent | Field::Invalid => None,
        };
        let status = listen::status(diagnostics, file.status, &service);
        if let Some(status) = &status {
            ports::check(diagnostics, &service.listen, status);
        }
        let store = store::check(diagnostics, file.etcd3, file.embedded);
        let mut lock = file.lock.value_or_default();
        let slots_mismatch = groups::slots_mismatch(diagnostics, &lock.on_slots_mismatch);
        let context = groups::Context {
            has_passwords: service.has_passwords,
            store: store.as_ref().map(|(store, _)| store),
        };
        let caps = std::mem::take(&mut lock.caps).value_or_default();
        let mut gates = gates::Catalog::default();
        let groups = groups::check(diagnostics, lock, &context, &mut gates);
        let caps = caps::check(diagnostics, caps, &groups);
        let limits = limits::check(file.limits.value_or_default());
        let (store, transaction_timeout) = store.unwrap_or_else(|| {
            let path = PathBuf::new();
            (StoreSettings::Embedded { path }, Duration::ZERO)
        });
        Settings {
            service: service.listen,
            htpasswd_path: service.htpasswd_path,
            path_prefix: service.path_prefix,
            trusted_proxies: service.trusted_proxies,
            node_names_path: service.node_names_path,
            status: status.map(|status| status.value),
            allowed_hosts,
            store,
            transaction_timeout,
            groups,
            caps,
            gates: gates.into_gates(),
            slots_mismatch,
            limits,
            notify: notify::check(diagnostics, file.notify),
        }
    }

    /// Removes the policies of all groups, which are not known in full.
    pub(crate) fn forget_policies(&mut self) {
        self.caps.clear();
        self.groups
            .values_mut()
            .for_each(GroupSettings::forget_policies);
    }
}
