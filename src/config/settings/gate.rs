//! A gate: a condition outside of the store that new locks depend on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::{KeyPair, url};
use crate::config::diagnostic::{Diagnostics, Located, quote};
use crate::config::field::{Field, Pair};
use crate::config::schema::GateSection;

/// The settings of a gate. Gates of the same name have the same settings, in all groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GateSettings {
    /// The name: letters, digits, '.', '-' and '_'.
    pub(crate) name: Arc<str>,
    /// The server that is asked, and what.
    pub(crate) target: GateTarget,
    /// The time that one answer may take.
    pub(crate) timeout: Duration,
    /// The age up to which an answer counts, from the moment at which the gate was asked.
    pub(crate) max_age: Duration,
    /// The number of new locks that one answer allows, at least 1.
    pub(crate) allows: u64,
    /// The number of successive answers after which the gate is open, at least 1.
    pub(crate) open_after_successes: u64,
    /// The CAs that have issued the certificate of the server; `None`: the CAs of the system.
    pub(crate) ca_cert_path: Option<PathBuf>,
    /// The certificate of this client.
    pub(crate) client_cert: Option<KeyPair>,
    /// The credentials that are sent; `None`: none.
    pub(crate) credentials: Option<GateCredentials>,
}

/// The server that is asked about a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GateTarget {
    /// A web server, of which a response with a 2xx status opens the gate.
    Http(Uri),
    /// A server with the API of Prometheus, of which an empty result opens the gate.
    Prometheus {
        /// The URL to which the path of the API is appended.
        url: Uri,
        /// The query, in PromQL.
        query: String,
    },
}

/// The credentials for a gate, which are in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GateCredentials {
    /// The file with a bearer token.
    Bearer(PathBuf),
    /// A name, and the file with its password.
    Basic {
        /// The name.
        username: String,
        /// The file.
        password_path: PathBuf,
    },
}

const DEFAULT_TIMEOUT_MS: u64 = 2000;
const DEFAULT_MAX_AGE_MS: u64 = 5000;

/// The maximum length of a name.
const MAX_NAME: usize = 63;

/// The maximum length of a query, which has to fit into a URL.
const MAX_QUERY: usize = 4096;

/// The path of queries, which the server appends.
const API_PATH: &str = "/api/v1/query";

/// Continues the error about a user or a password in the URL.
const NO_CREDENTIALS: &str =
    "which others could read in it; remove them, and set username and password_path";

/// Reports all problems of a gate. Returns `None` if it has no valid name or target.
pub(super) fn checked(
    diagnostics: &mut Diagnostics,
    table: Located<GateSection>,
) -> Option<GateSettings> {
    let place = table.with(());
    let section = table.value;
    let name = checked_name(diagnostics, &place, section.name);
    let target = checked_target(
        diagnostics,
        &place,
        section.http.with(section.prometheus),
        section.query,
    );
    let max_age = section.max_age_ms.value_or(DEFAULT_MAX_AGE_MS);
    let default_timeout = DEFAULT_TIMEOUT_MS.min(max_age);
    if let Some(timeout) = section.timeout_ms.as_present()
        && timeout.value > max_age
    {
        let text = format!(
            "an answer that takes longer than max_age_ms, {max_age}, is too old to be used; set a lower timeout, or \
             raise max_age_ms"
        );
        diagnostics.error(timeout, text);
    }
    let credentials = checked_credentials(
        diagnostics,
        section.bearer_token_path,
        section.username.with(section.password_path),
        target.as_ref().map(GateTarget::url),
    );
    let files = [
        &section.ca_cert_path,
        &section.client_cert_path,
        &section.client_key_path,
    ];
    let is_plain = target
        .as_ref()
        .is_some_and(|target| url::is_plain(target.url()));
    for file in files.into_iter().filter_map(Field::as_present) {
        if is_plain {
            let text = "the file has no use because the gate is plain http://; write https:// in its URL, or remove this key";
            diagnostics.error(file, text);
        }
    }
    let pair = section.client_cert_path.with(section.client_key_path);
    let keys = ["client_cert_path", "client_key_path"];
    let client_cert = KeyPair::of_client(diagnostics, pair, keys);
    Some(GateSettings {
        name: name?,
        target: target?,
        timeout: Duration::from_millis(section.timeout_ms.value_or(default_timeout)),
        max_age: Duration::from_millis(max_age),
        allows: section.allows.value_or(1),
        open_after_successes: section.open_after_successes.value_or(1),
        ca_cert_path: section.ca_cert_path.present().map(|path| path.value.into()),
        client_cert,
        credentials,
    })
}

fn checked_name(
    diagnostics: &mut Diagnostics,
    place: &Located<()>,
    field: Field<String>,
) -> Option<Arc<str>> {
    if field.is_absent() {
        let text = "the gate has no name; add name = \"…\"";
        diagnostics.error(&place.missing("name"), text);
    }
    let name = field.present()?;
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let length = name.value.len();
    if !(1..=MAX_NAME).contains(&length) || !name.value.chars().all(is_valid) {
        let text = format!(
            "{} is not the name of a gate, which has 1 to {MAX_NAME} letters, digits, '.', '-' and '_'",
            quote(&name.value)
        );
        diagnostics.error(&name, text);
        return None;
    }
    Some(name.value.into())
}

fn checked_target(
    diagnostics: &mut Diagnostics,
    place: &Located<()>,
    urls: Pair<String, String>,
    query: Field<String>,
) -> Option<GateTarget> {
    match urls {
        Pair::OnlyFirst(http) => {
            if let Some(query) = query.as_present() {
                let text = "a query has no use without prometheus; write prometheus = instead of http =, or remove \
                            this key";
                diagnostics.error(query, text);
            }
            Some(GateTarget::Http(checked_url(diagnostics, &http)?))
        }
        Pair::OnlySecond(prometheus) => {
            let url = checked_url(diagnostics, &prometheus);
            if let Some(path) = url.as_ref().map(Uri::path)
                && path.trim_end_matches('/').ends_with(API_PATH)
            {
                let text =
                    format!("remove {API_PATH} from the URL, since the server appends it itself");
                diagnostics.error(&prometheus, text);
            }
            let query = checked_query(diagnostics, place, query);
            let (url, query) = (url?, query?);
            Some(GateTarget::Prometheus { url, query })
        }
        Pair::Both(http, prometheus) => {
            let line = http.line.unwrap_or_default();
            let text = format!(
                "the gate has both http (line {line}) and prometheus; remove one of them, and use a second gate if \
                 both have to be open"
            );
            diagnostics.error(&prometheus, text);
            None
        }
        Pair::Neither => {
            let text = "the gate asks no server; add http = \"https://host/path\", or prometheus = \"http://host:9090\" \
                        with query = \"…\"";
            diagnostics.error(&place.missing("http"), text);
            None
        }
        Pair::Invalid => None,
    }
}

fn checked_url(diagnostics: &mut Diagnostics, found: &Located<String>) -> Option<Uri> {
    let text = match url::parse(&found.value, NO_CREDENTIALS) {
        Ok(_) if found.value.contains('#') => format!(
            "URL {} has a fragment (#), which is never sent; remove it",
            url::shown(&found.value)
        ),
        Ok(url) => return Some(url),
        Err(error) => error.to_string(),
    };
    diagnostics.error(found, text);
    None
}

fn checked_query(
    diagnostics: &mut Diagnostics,
    place: &Located<()>,
    field: Field<String>,
) -> Option<String> {
    const EXAMPLE: &str = "query = 'ALERTS{alertstate=\"firing\", severity=\"critical\"}'";
    if field.is_absent() {
        let text = format!(
            "the gate has no query; add one whose result is empty while nodes may reboot: {EXAMPLE}"
        );
        diagnostics.error(&place.missing("query"), text);
    }
    let query = field.present()?;
    let length = query.value.len();
    if query.value.trim().is_empty() {
        let text = format!("the query is empty; write one such as {EXAMPLE}");
        diagnostics.error(&query, text);
    } else if length > MAX_QUERY {
        let text = format!(
            "the query has {length} bytes; shorten it to {MAX_QUERY} or fewer, for example with a recording rule"
        );
        diagnostics.error(&query, text);
    }
    Some(query.value)
}

fn checked_credentials(
    diagnostics: &mut Diagnostics,
    token: Field<String>,
    user: Pair<String, String>,
    url: Option<&Uri>,
) -> Option<GateCredentials> {
    let token = token.present();
    let (place, credentials) = match user {
        Pair::Both(username, _) if token.is_some() => {
            let text = "the gate has both a bearer token and a password, of which a request can contain one; remove \
                        bearer_token_path, or username and password_path";
            diagnostics.error(&username, text);
            return None;
        }
        Pair::Both(username, _) if username.value.contains([':', '\r', '\n', '\0']) => {
            let text = format!(
                "user {} contains ':' or a control character, which a request cannot contain; choose another name",
                quote(&username.value)
            );
            diagnostics.error(&username, text);
            return None;
        }
        Pair::Both(username, path) => {
            let place = path.with(());
            let basic = GateCredentials::Basic {
                username: username.value,
                password_path: path.value.into(),
            };
            (place, basic)
        }
        Pair::OnlyFirst(username) => {
            let text = format!(
                "user {} has no password; set password_path to a file that contains it",
                quote(&username.value)
            );
            diagnostics.error(&username, text);
            return None;
        }
        Pair::OnlySecond(path) => {
            let text = "the password has no user; set username, or remove this key";
            diagnostics.error(&path, text);
            return None;
        }
        Pair::Neither => {
            let token = token?;
            let place = token.with(());
            (place, GateCredentials::Bearer(token.value.into()))
        }
        Pair::Invalid => return None,
    };
    if url.is_some_and(url::is_exposed) {
        let text = "the secret in this file is sent in plain text, so that others on the network can read it; write \
                    https:// in the URL of the gate";
        diagnostics.warning(&place, text);
    }
    Some(credentials)
}

// === impl GateTarget ===

impl GateTarget {
    /// Returns the configured URL.
    pub(crate) fn url(&self) -> &Uri {
        match self {
            GateTarget::Http(url) | GateTarget::Prometheus { url, .. } => url,
        }
    }

    /// Returns the URL for messages: without its path, which may contain a token.
    pub(crate) fn shown(&self) -> String {
        url::without_path(self.url())
    }
}

// === impl GateCredentials ===

impl GateCredentials {
    /// Returns the file with the secret, and the key that names it.
    pub(crate) fn file(&self) -> (&'static str, &PathBuf) {
        match self {
            GateCredentials::Bearer(path) => ("bearer_token_path", path),
            GateCredentials::Basic { password_path, .. } => ("password_path", password_path),
        }
    }
}
