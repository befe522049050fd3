//! `[etcd3]` and `[embedded]`: exactly one of them is configured.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use std::{fmt, iter};

use super::{KeyPair, endpoint};
use crate::config::diagnostic::{Diagnostics, Located, quote};
use crate::config::field::{Field, Pair};
use crate::config::schema::{EmbeddedSection, Etcd3Section};
use crate::file;
use crate::text::escape::redacted;

/// The settings of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreSettings {
    /// An etcd cluster.
    Etcd(EtcdSettings),
    /// A file, for a single server.
    Embedded {
        /// The database file.
        path: PathBuf,
    },
}

// === impl StoreSettings ===

impl StoreSettings {
    /// Returns the kind of the store with its endpoints or its file, for people. It contains no passwords.
    pub(crate) fn location(&self) -> String {
        match self {
            StoreSettings::Etcd(etcd) => {
                let endpoints = etcd.endpoints.iter().map(|endpoint| redacted(endpoint));
                let words: Vec<_> = iter::once("etcd".into()).chain(endpoints).collect();
                words.join(" ")
            }
            StoreSettings::Embedded { path } => {
                let absolute = std::path::absolute(path);
                format!("file {}", absolute.as_ref().unwrap_or(path).display())
            }
        }
    }
}

/// The settings of the etcd client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSettings {
    /// The endpoints as URLs with their scheme, the preferred one first.
    pub endpoints: Vec<String>,
    /// The only cluster that may be used; `None`: the first one that replies.
    pub cluster_id: Option<ClusterId>,
    /// The CAs that have issued the certificates of the cluster; `None`: the CAs of the system.
    pub ca_cert_path: Option<PathBuf>,
    /// The client certificate.
    pub client_cert: Option<KeyPair>,
    /// The user of etcd.
    pub user: Option<EtcdUser>,
}

/// The id of an etcd cluster. etcd logs it in hexadecimal digits, as it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterId(pub u64);

/// A user of etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdUser {
    /// The name.
    pub name: String,
    /// The file that contains the password and nothing else.
    pub password_path: PathBuf,
}

/// The maximum number of slots of a group in etcd. A commit is one request, which etcd limits to 1.5 MiB
/// (`--max-request-bytes`); in it, a holder with an id as long as Zincati's takes 35 bytes in the semaphore that is
/// compared, as many in the one that is written, and 58 in the lock times.
pub const MAX_ETCD_SLOTS: u64 = 12_000;

/// The reason why a text is not a [`ClusterId`].
#[derive(Debug, thiserror::Error)]
#[error(
    "{} is not the id of an etcd cluster, which has 1 to 16 hexadecimal digits, such as \"cdf818194e3a8c32\"; remove \
     the key, and `airlock check-config --online` prints the id",
    quote(found)
)]
pub struct InvalidClusterId {
    found: String,
}

// === impl ClusterId ===

impl FromStr for ClusterId {
    type Err = InvalidClusterId;

    fn from_str(text: &str) -> Result<Self, InvalidClusterId> {
        let digits = text.len() <= 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        id.filter(|id| *id != 0)
            .map(ClusterId)
            .ok_or_else(|| InvalidClusterId {
                found: text.to_owned(),
            })
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// The reason why a group cannot have so many slots.
#[derive(Debug, thiserror::Error)]
#[error(
    "{slots} lock holders do not fit into one request to etcd, which is limited to 1.5 MiB; set {max} slots or fewer, \
     and use more groups"
)]
pub(crate) struct TooManySlots {
    slots: u64,
    max: u64,
}

const DEFAULT_TIMEOUT_MS: u64 = 3000;

const NO_STORE: &str = "no store is configured; add [etcd3] with endpoints = [\"http://127.0.0.1:2379\"], or, for a \
     single server, [embedded] with path = \"/var/lib/airlock/airlock.db\"";

// === impl StoreSettings ===

impl StoreSettings {
    /// Returns the maximum number of slots of a group; `None`: there is none.
    pub(crate) fn max_slots(&self) -> Option<u64> {
        match self {
            StoreSettings::Etcd(_) => Some(MAX_ETCD_SLOTS),
            StoreSettings::Embedded { .. } => None,
        }
    }

    /// Verifies that a group can have `slots` slots in this store.
    ///
    /// # Errors
    /// If they do not fit.
    pub(crate) fn check_slots(&self, slots: u64) -> Result<(), TooManySlots> {
        match self.max_slots() {
            Some(max) if slots > max => Err(TooManySlots { slots, max }),
            _ => Ok(()),
        }
    }
}

/// Returns the store and the time that a request may spend on it; `None` if there is not exactly one store.
pub(super) fn check(
    diagnostics: &mut Diagnostics,
    etcd3: Field<Etcd3Section>,
    embedded: Field<EmbeddedSection>,
) -> Option<(StoreSettings, Duration)> {
    match etcd3.with(embedded) {
        Pair::OnlyFirst(etcd3) => {
            let timeout = timeout(&etcd3.value.transaction_timeout_ms);
            Some((StoreSettings::Etcd(etcd(diagnostics, etcd3)), timeout))
        }
        Pair::OnlySecond(section) => {
            let timeout = timeout(&section.value.transaction_timeout_ms);
            Some((embedded_store(diagnostics, section), timeout))
        }
        Pair::Both(etcd3, embedded) => {
            let line = etcd3.line.unwrap_or_default();
            let text = format!(
                "[etcd3] (line {line}) and [embedded] are both configured; remove one of them, since a server uses one \
                 store"
            );
            diagnostics.error(&embedded, text);
            // For the other errors in both.
            etcd(diagnostics, etcd3);
            embedded_store(diagnostics, embedded);
            None
        }
        Pair::Neither => {
            diagnostics.error_at(None, "etcd3", NO_STORE);
            None
        }
        Pair::Invalid => None,
    }
}

fn timeout(field: &Field<u64>) -> Duration {
    let ms = field.as_present().map(|timeout| timeout.value);
    Duration::from_millis(ms.unwrap_or(DEFAULT_TIMEOUT_MS))
}

fn embedded_store(
    diagnostics: &mut Diagnostics,
    section: Located<EmbeddedSection>,
) -> StoreSettings {
    const REMEDY: &str =
        "name the database file, for example path = \"/var/lib/airlock/airlock.db\"";
    let missing = section.missing("path");
    match &section.value.path {
        Field::Absent => diagnostics.error(&missing, format!("[embedded] has no path; {REMEDY}")),
        Field::Present(path) if path.value.is_empty() => {
            diagnostics.error(path, format!("the path is empty; {REMEDY}"));
        }
        Field::Present(path) if path.value == ":memory:" => {
            let text =
                format!("a database in memory loses all locks when the server ends; {REMEDY}");
            diagnostics.error(path, text);
        }
        Field::Present(path) if path.value.to_ascii_lowercase().starts_with("file:") => {
            let text = format!(
                "{} is a URI, whose parameters could make the database lose locks; {REMEDY}",
                quote(&path.value)
            );
            diagnostics.error(path, text);
        }
        Field::Present(_) | Field::Invalid => {}
    }
    StoreSettings::Embedded {
        path: section.value.path.value_or_default().into(),
    }
}

fn etcd(diagnostics: &mut Diagnostics, section: Located<Etcd3Section>) -> EtcdSettings {
    let missing_endpoints = section.missing("endpoints");
    let section = section.value;
    if section.endpoints.is_absent() {
        let text =
            "[etcd3] has no endpoints; add at least one: endpoints = [\"http://127.0.0.1:2379\"]";
        diagnostics.error(&missing_endpoints, text);
    }
    let endpoints = endpoints(diagnostics, section.endpoints);
    // If an endpoint is missing or invalid, nothing is known about the use of TLS.
    let uses_tls = diagnostics.has_error_in("etcd3.endpoints")
        || endpoints.iter().any(|url| url.starts_with("https://"));
    let uses_plain = endpoints.iter().any(|url| url.starts_with("http://"));
    let ca_cert_path = section.ca_cert_path.present();
    if let (Some(path), false) = (&ca_cert_path, uses_tls) {
        diagnostics.error(
            path,
            "a CA has no use because all endpoints are plain http://; write https://host:port in etcd3.endpoints, or \
             remove this key",
        );
    }
    let pair = section
        .client_cert_pub_path
        .with(section.client_cert_key_path);
    let user = section.username.with(section.password_path);
    EtcdSettings {
        endpoints,
        cluster_id: cluster_id(diagnostics, section.cluster_id),
        ca_cert_path: ca_cert_path.map(|path| path.value.into()),
        client_cert: client_cert(diagnostics, pair, uses_tls),
        user: etcd_user(diagnostics, user, uses_plain),
    }
}

fn cluster_id(diagnostics: &mut Diagnostics, field: Field<String>) -> Option<ClusterId> {
    let configured = field.present()?;
    let id = configured.value.parse();
    if let Err(error) = &id {
        let error: &InvalidClusterId = error;
        diagnostics.error(&configured, error.to_string());
    }
    id.ok()
}

fn endpoints(diagnostics: &mut Diagnostics, field: Field<Vec<Located<String>>>) -> Vec<String> {
    let Some(configured) = field.present() else {
        return Vec::new();
    };
    if configured.value.is_empty() {
        let text =
            "the list is empty; add at least one endpoint, such as \"http://127.0.0.1:2379\"";
        diagnostics.error(&configured, text);
    }
    let mut endpoints: Vec<String> = Vec::new();
    for found in &configured.value {
        match endpoint::parse(&found.value) {
            Ok(url) if endpoints.contains(&url) => {
                let quoted = quote(&found.value);
                let text = format!("endpoint {quoted} is listed twice; remove one of the two");
                diagnostics.warning(found, text);
            }
            Ok(url) => endpoints.push(url),
            Err(error) => diagnostics.error(found, error.to_string()),
        }
    }
    endpoints
}

fn client_cert(
    diagnostics: &mut Diagnostics,
    pair: Pair<String, String>,
    uses_tls: bool,
) -> Option<KeyPair> {
    if uses_tls {
        let keys = ["etcd3.client_cert_pub_path", "etcd3.client_cert_key_path"];
        return KeyPair::of_client(diagnostics, pair, keys);
    }
    let unused = match pair {
        Pair::Both(cert, key) => vec![cert, key],
        Pair::OnlyFirst(one) | Pair::OnlySecond(one) => vec![one],
        Pair::Neither | Pair::Invalid => return None,
    };
    for path in unused {
        let missing = match file::call(Path::new(&path.value), Path::exists) {
            Ok(true) | Err(_) => "",
            Ok(false) => " and does not exist",
        };
        let text = format!(
            "file {} is not used because all endpoints are plain http://{missing}; write https://host:port in \
             etcd3.endpoints, or remove this key",
            quote(&path.value)
        );
        diagnostics.warning(&path, text);
    }
    None
}

fn etcd_user(
    diagnostics: &mut Diagnostics,
    user: Pair<String, String>,
    uses_plain: bool,
) -> Option<EtcdUser> {
    match user {
        Pair::Both(name, path) => {
            if uses_plain {
                diagnostics.warning(
                    &name,
                    "the password is sent to http:// endpoints in plain text; write https://host:port in \
                     etcd3.endpoints",
                );
            }
            Some(EtcdUser {
                name: name.value,
                password_path: path.value.into(),
            })
        }
        Pair::OnlyFirst(name) => {
            let text = format!(
                "user {} has no password; set etcd3.password_path to a file that contains it",
                quote(&name.value)
            );
            diagnostics.error(&name, text);
            None
        }
        Pair::OnlySecond(path) => {
            let text = "the password has no user; set etcd3.username, or remove this key";
            diagnostics.error(&path, text);
            None
        }
        Pair::Neither | Pair::Invalid => None,
    }
}
