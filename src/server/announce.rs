//! The lines of the log about the start.

use crate::config::{ListenSettings, Settings, StoreSettings};
use crate::http::Listener;
use crate::logging::ALWAYS;

/// The maximum number of groups that are named.
const MAX_NAMED: usize = 8;

/// Logs what the server is and where it listens: the one line that a start writes at every verbosity.
pub(super) fn started(settings: &Settings, service: &Listener, status: Option<&Listener>) {
    let store = settings.store.location();
    let service = address(&settings.service, service);
    let status = match (&settings.status, status) {
        (Some(settings), Some(listener)) => address(settings, listener),
        _ => "disabled".into(),
    };
    tracing::info!(
        target: ALWAYS,
        version = env!("CARGO_PKG_VERSION"),
        store,
        service,
        status,
        groups = groups(settings),
        "airlock started"
    );
}

/// Logs the address of a listener, in the words of coreos/airlock.
pub(super) fn listener(what: &str, settings: &ListenSettings, listener: &Listener) {
    let port = listener
        .local_addr()
        .map_or(settings.port, |bound| bound.port());
    tracing::info!(address = settings.address, port = u64::from(port), "{what}");
}

/// Logs the settings, in the words of coreos/airlock.
pub(super) fn settings(settings: &Settings) {
    match &settings.store {
        StoreSettings::Etcd(etcd) => {
            let endpoints = format!("[{}]", etcd.endpoints.join(" "));
            tracing::debug!(endpoints, "etcd3 configuration");
        }
        StoreSettings::Embedded { path } => {
            tracing::debug!(path = %path.display(), "embedded configuration");
        }
    }
    let groups: Vec<String> = named_groups(settings).collect();
    tracing::debug!(groups = format!("map[{}]", groups.join(" ")), "lock groups");
}

/// Returns the address of a listener, and whether it speaks TLS.
fn address(settings: &ListenSettings, listener: &Listener) -> String {
    let tls = if settings.tls.is_some() {
        "TLS"
    } else {
        "plain HTTP"
    };
    match listener.local_addr() {
        Ok(bound) => format!("{bound} ({tls})"),
        Err(_) => format!("{}:{} ({tls})", settings.address, settings.port),
    }
}

/// Returns the number of groups, with their names and slots if they are few.
fn groups(settings: &Settings) -> String {
    match settings.groups.len() {
        count @ ..=MAX_NAMED => {
            let groups: Vec<String> = named_groups(settings).collect();
            format!("{count} ({})", groups.join(" "))
        }
        count => count.to_string(),
    }
}

fn named_groups(settings: &Settings) -> impl Iterator<Item = String> {
    let groups = settings.groups.iter();
    groups.map(|(name, group)| format!("{name}:{}", group.slots))
}
