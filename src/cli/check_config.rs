//! `airlock check-config`: the configuration, without starting anything.

use std::path::Path;

use jiff::Timestamp;

use super::Failure;
use super::say::tell;
use crate::access;
use crate::config::{self, ListenSettings, Settings, StoreSettings};
use crate::policy::{State, Windows};
use crate::store::etcd::Credentials;
use crate::tls::{self, TlsError};

pub fn run(path: &Path) -> Result<(), Failure> {
    let checked = config::load(path);
    for warning in config::warnings(&checked) {
        tell(format_args!("warning: {warning}"));
    }
    if let Err(problems) = &checked {
        for problem in &problems.errors {
            tell(format_args!("error: {problem}"));
        }
    }
    let loaded = checked?;
    for problem in unusable_files(&loaded.settings) {
        tell(format_args!("warning: {problem}"));
    }
    tell(format_args!("{}: good. A server with it:", path.display()));
    for line in describe(&loaded.settings) {
        tell(format_args!("  {line}"));
    }
    Ok(())
}

/// What is wrong with the files that the settings name, which may be meant for another machine.
fn unusable_files(settings: &Settings) -> Vec<String> {
    let would_not_start = |problem| format!("a server would not start here: {problem}");
    let mut problems = Vec::new();
    let listeners = [Some(&settings.service), settings.status.as_ref()];
    for tls in listeners
        .into_iter()
        .flatten()
        .filter_map(|l| l.tls.as_ref())
    {
        match tls::check(tls) {
            Ok(()) => {}
            Err(expired @ TlsError::Expired { .. }) => {
                problems.push(format!("clients would refuse the server: {expired}"));
            }
            Err(error) => problems.push(would_not_start(error.to_string())),
        }
    }
    if let Some(Err(error)) = settings.htpasswd_path.as_deref().map(access::check) {
        problems.push(would_not_start(format!("{error} (service.htpasswd_path)")));
    }
    if let StoreSettings::Etcd(etcd) = &settings.store
        && let Err(error) = Credentials::load(etcd.clone())
    {
        problems.push(would_not_start(error.to_string()));
    }
    problems
}

/// What a server with these settings does, in sentences.
fn describe(settings: &Settings) -> Vec<String> {
    let mut lines = vec![format!("answers nodes at {}", url(&settings.service))];
    if let Some(path) = &settings.htpasswd_path {
        lines.push(format!("asks them for a password of {}", path.display()));
    }
    lines.push(match &settings.status {
        Some(listen) => format!("shows operators its state at {}", url(listen)),
        None => "shows operators nothing (status.enabled is false)".into(),
    });
    lines.push(match &settings.store {
        StoreSettings::Etcd(etcd) => format!(
            "keeps locks in etcd at {}, below com.coreos.airlock/groups/",
            etcd.endpoints.join(", ")
        ),
        StoreSettings::Embedded { path } => {
            format!("keeps locks in the file {}", path.display())
        }
    });
    for (name, group) in &settings.groups {
        lines.push(format!(
            "lets {} of group {name} be away at once (until the store says otherwise)",
            group.slots
        ));
        lines.extend(next_windows(&group.windows, Timestamp::now()));
    }
    lines
}

/// What somebody meant by the windows shows best in when they will be.
fn next_windows(windows: &Windows, now: Timestamp) -> Vec<String> {
    if windows.state(now) == State::Always {
        return Vec::new();
    }
    let upcoming = windows.upcoming(now, 3).into_iter().map(|opening| {
        let open = if opening.opens <= now {
            ", open now"
        } else {
            ""
        };
        let (opens, closes) = (opening.opens_text(), opening.closes_text());
        format!("  {opens} to {closes}{open}")
    });
    let head = "in its reboot windows only, the next of which are".to_owned();
    std::iter::once(head).chain(upcoming).collect()
}

fn url(listen: &ListenSettings) -> String {
    let scheme = if listen.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let address = match listen.address.as_str() {
        "" => "0.0.0.0",
        address => address,
    };
    if address.contains(':') {
        format!("{scheme}://[{address}]:{}/", listen.port)
    } else {
        format!("{scheme}://{address}:{}/", listen.port)
    }
}
