//! `[notify]`: the receiver of events, and which ones it gets.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::url;
use crate::config::diagnostic::{Diagnostics, Located, quote};
use crate::config::field::Field;
use crate::config::schema::NotifySection;
use crate::config::suggest;

const DEFAULT_TIMEOUT_MS: u64 = 5000;

/// Continues the error about a user or a password in the URL.
const NO_CREDENTIALS: &str = "which are never sent; remove them, and have the receiver verify the signature \
     (notify.secret_path)";

/// The settings of the webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotifySettings {
    /// The URL of the receiver: `http` or `https` and a host, without a user.
    pub(crate) url: Uri,
    /// The file with the secret that signs the events; `None`: they are not signed.
    pub(crate) secret_path: Option<PathBuf>,
    /// The CAs that have issued the certificate of the receiver; `None`: the CAs of the system.
    pub(crate) ca_cert_path: Option<PathBuf>,
    /// The kinds of events that are sent.
    pub(crate) events: BTreeSet<EventKind>,
    /// The time that one attempt may take.
    pub(crate) timeout: Duration,
}

/// A kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EventKind {
    /// A node was granted a slot.
    Granted,
    /// A slot was released, by its node or an administrator.
    Released,
    /// A node holds a slot for longer than usual.
    Overdue,
    /// An administrator has executed a command.
    Admin,
    /// A request was denied.
    Denied,
}

/// Returns the settings; `None` without the section. Without a valid URL, which was reported, theirs is empty.
pub(super) fn check(
    diagnostics: &mut Diagnostics,
    field: Field<NotifySection>,
) -> Option<NotifySettings> {
    let section = field.present()?;
    let missing = section.missing("url");
    let NotifySection {
        url,
        secret_path,
        ca_cert_path,
        events,
        timeout_ms,
    } = section.value;
    if url.is_absent() {
        let text = "[notify] has no url; name the receiver: url = \"https://host/path\"";
        diagnostics.error(&missing, text);
    }
    let url = receiver_url(diagnostics, url);
    let ca_cert_path = ca_cert_path.present();
    if let Some(path) = &ca_cert_path
        && url::is_plain(&url)
    {
        diagnostics.error(
            path,
            "a CA has no use because the receiver is plain http://; write https://host/path in notify.url, or remove \
             this key",
        );
    }
    Some(NotifySettings {
        url,
        secret_path: secret_path.present().map(|path| path.value.into()),
        ca_cert_path: ca_cert_path.map(|path| path.value.into()),
        events: kinds(diagnostics, events),
        timeout: Duration::from_millis(timeout_ms.value_or(DEFAULT_TIMEOUT_MS)),
    })
}

fn receiver_url(diagnostics: &mut Diagnostics, field: Field<String>) -> Uri {
    let Some(found) = field.present() else {
        return Uri::default();
    };
    match url::parse(&found.value, NO_CREDENTIALS) {
        Ok(url) => {
            if url::is_exposed(&url) {
                let text = format!(
                    "events are sent to {} in plain text, so that others on the network can read them; write https://",
                    url::shown(&found.value)
                );
                diagnostics.warning(&found, text);
            }
            url
        }
        Err(error) => {
            diagnostics.error(&found, error.to_string());
            Uri::default()
        }
    }
}

/// Returns the kinds of the list, or all of them without one.
fn kinds(diagnostics: &mut Diagnostics, field: Field<Vec<Located<String>>>) -> BTreeSet<EventKind> {
    let Some(configured) = field.present() else {
        return EventKind::ALL.into();
    };
    if configured.value.is_empty() {
        let text = "the list is empty, so that no event is sent; remove the key to send all of them, or the section \
                    [notify] to send none";
        diagnostics.error(&configured, text);
    }
    let mut kinds = BTreeSet::new();
    for found in &configured.value {
        let kind = EventKind::ALL
            .into_iter()
            .find(|kind| kind.name() == found.value);
        match kind {
            Some(kind) if kinds.insert(kind) => {}
            Some(kind) => {
                let text = format!(
                    "event \"{}\" is listed twice; remove one of the two",
                    kind.name()
                );
                diagnostics.warning(found, text);
            }
            None => diagnostics.error(found, unknown_event(&found.value)),
        }
    }
    kinds
}

fn unknown_event(name: &str) -> String {
    let names = EventKind::ALL.map(EventKind::name);
    let max = name.chars().count().div_ceil(2);
    let remedy = match suggest::nearest(name, names, max) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("the events are: {}", names.join(", ")),
    };
    format!("unknown event {}; {remedy}", quote(name))
}

// === impl NotifySettings ===

impl NotifySettings {
    /// Returns the receiver for messages: the URL without its path, which may contain a token.
    pub(crate) fn receiver(&self) -> String {
        url::without_path(&self.url)
    }
}

// === impl EventKind ===

impl EventKind {
    /// All kinds.
    pub(crate) const ALL: [EventKind; 5] = [
        EventKind::Granted,
        EventKind::Released,
        EventKind::Overdue,
        EventKind::Admin,
        EventKind::Denied,
    ];

    /// Returns the name in the configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            EventKind::Granted => "granted",
            EventKind::Released => "released",
            EventKind::Overdue => "overdue",
            EventKind::Admin => "admin",
            EventKind::Denied => "denied",
        }
    }
}
