//! The keys of the file with their types, ranges, and documentation. `settings` gives them their meaning.
//!
//! `section` has the macro that defines a table, its reader, and its description of one list. The other files contain the
//! lists.

mod limits;
mod listen;
mod lock;
mod notify;
mod policies;
pub(crate) mod section;
mod store;

pub(super) use limits::LimitsSection;
pub(super) use listen::{ServiceSection, StatusSection};
pub(super) use lock::{CapSection, GroupSection, LockSection};
pub(super) use notify::NotifySection;
pub(super) use policies::{FreezeSection, GateSection, WindowSection};
pub(crate) use section::{Applies, DefaultValue, Key, Kind, NamedSection, Rule, Section};
pub(super) use store::{EmbeddedSection, Etcd3Section};

use super::diagnostic::Diagnostics;
use super::field::Field;
use super::toml::Table;
use section::{optional, section};

section! {
    /// The configuration is a [TOML](https://toml.io/en/v1.0.0) file, by default `/etc/airlock/config.toml`. The option
    /// `-c FILE` or the variable `AIRLOCK_CONFIG` names another one. Files written for coreos/airlock work unchanged. An
    /// unknown key is ignored with a warning. `airlock check-config` reports all errors and warnings at once.
    File, Restart, Rule::ExactlyOne(["etcd3", "embedded"]) => {
        /// The listener for nodes.
        service: Table(ServiceSection) = optional(),
        /// The listener for administrators and monitoring.
        status: Table(StatusSection) = optional(),
        /// The store: an etcd cluster.
        etcd3: Table(Etcd3Section) = optional(),
        /// The store: a file on the machine of the only server.
        embedded: Table(EmbeddedSection) = optional(),
        /// The groups, and when their nodes may reboot.
        lock: Table(LockSection) = optional(),
        /// The resources that clients can use.
        limits: Table(LimitsSection) = optional(),
        /// The receiver of events.
        notify: Table(NotifySection) = optional(),
    }
}

/// When changes apply, in Markdown.
pub(crate) const CHANGES: &str = "Changes of some keys apply on a reload (`systemctl reload airlock`, or SIGHUP), those \
    of the other keys on a restart. On a reload, the log names the tables that need a restart. If the file has an \
    error, a reload changes nothing. The files that the configuration names, such as certificates and passwords, are \
    also read again when they change.";

/// Returns all tables of the file, in the order of the documentation. The document itself is the first one.
pub(super) fn tables() -> Vec<NamedSection> {
    File::SECTION.tables("", false)
}

/// Returns all tables of the file, those with the same keys once, with the lines that start them.
pub(crate) fn documented() -> Vec<(Vec<String>, &'static Section)> {
    let mut documented: Vec<(Vec<String>, &'static Section)> = Vec::new();
    for table in tables() {
        let (header, section) = (table.header(), table.section);
        let mut known = documented.iter_mut();
        match known.find(|(_, known)| known.about() == section.about()) {
            Some((headers, _)) => headers.push(header),
            None => documented.push((vec![header], section)),
        }
    }
    documented
}

impl File {
    /// Reads the keys of a document. Returns `None` if it is not TOML.
    pub(super) fn parse(diagnostics: &mut Diagnostics, text: &str) -> Option<Self> {
        let document = Table::document(diagnostics, text)?;
        Some(File::read(diagnostics, document))
    }
}
