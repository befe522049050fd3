//! The check of what a configuration names: files, addresses, and the embedded store. `airlock check-config` reports all
//! problems; a server does not start with one of its files, and a command not with one for etcd ([`Scope`]).

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use crate::auth::{self, HtpasswdError};
use crate::config::{
    self, Checked, ConfigErrors, ConfiguredGate, EtcdSettings, GateCredentials, KeyPair,
    ListenSettings, Loaded, NotifySettings, Settings, StoreSettings, TlsSettings,
};
use crate::gate::check_credentials;
use crate::http::check_address;
use crate::names::{NodeNames, NodeNamesError};
use crate::notify::check_secret;
use crate::reloadable::exposed_secret;
use crate::store::etcd::Credentials;
use crate::store::sqlite;
use crate::text::escape::shell_word;
use crate::text::explain::{Remedy, explain};
use crate::text::permission::command_path;
use crate::tls::{self, TlsError};

/// The maximum number of lines of a file that are reported one by one.
const MAX_LINES: usize = 20;

/// A problem with something that the configuration names.
struct Problem {
    /// Whether a server would not start.
    is_fatal: bool,
    /// The keys that name it.
    keys: Vec<String>,
    text: String,
}

/// The part of a configuration that is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Everything.
    All,
    /// Everything but addresses: a server explains an address itself, since it may become usable later.
    Files,
    /// The files for the connection to etcd, for a command that works on the store.
    Etcd,
}

/// Loads the configuration and checks what it names. Logs the warnings about the file.
///
/// # Errors
/// All errors of both.
pub(super) async fn load(path: &Path, scope: Scope) -> Result<Loaded, ConfigErrors> {
    let mut checked = config::check(path);
    for warning in &checked.warnings {
        tracing::warn!("{warning}");
    }
    check(&mut checked, scope).await;
    checked.into_loaded()
}

/// Checks what the file names, and adds the problems to those of the file. A value that has an error already is not
/// checked.
pub(super) async fn check(checked: &mut Checked, scope: Scope) {
    let Some(draft) = &checked.draft else {
        return;
    };
    let mut problems = Vec::new();
    if scope == Scope::All {
        problems.extend(address_problem("service", &draft.service).await);
        if let Some(status) = &draft.status {
            problems.extend(address_problem("status", status).await);
        }
    }
    if scope != Scope::Etcd {
        problems.extend(listener_file_problems(draft));
        problems.extend(draft.notify.as_ref().map_or_else(Vec::new, notify_problems));
        problems.extend(draft.gates.iter().flat_map(gate_problems));
    }
    match &draft.store {
        StoreSettings::Etcd(etcd) => problems.extend(etcd_problems(etcd)),
        // A command opens the embedded store at once.
        StoreSettings::Embedded { .. } if scope == Scope::Etcd => {}
        StoreSettings::Embedded { path } => {
            problems.extend(embedded_problem(path, draft.transaction_timeout));
        }
    }
    // The server warns itself, at every load, and commands leave that to it.
    if scope == Scope::All {
        problems.extend(exposed_secrets(draft));
    }
    let has_error = |key: &String| checked.errors.iter().any(|error| error.key == *key);
    problems.retain(|problem| !problem.keys.iter().any(has_error));
    for Problem {
        is_fatal,
        keys,
        text,
    } in problems
    {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let diagnostic = checked.places.diagnostic(&keys, text);
        if is_fatal {
            checked.errors.push(diagnostic);
        } else {
            checked.warnings.push(diagnostic);
        }
    }
    checked.sort();
}

/// Returns the problems with secrets that every user can read.
fn exposed_secrets(settings: &Settings) -> Vec<Problem> {
    let problem = |(key, path)| {
        let text = exposed_secret(path)?;
        Some(Problem {
            is_fatal: false,
            keys: vec![key],
            text,
        })
    };
    secrets(settings).into_iter().filter_map(problem).collect()
}

/// Returns the files that contain secrets, with their keys.
fn secrets(settings: &Settings) -> Vec<(String, &Path)> {
    let mut secrets = Vec::new();
    for (section, tls) in own_certificates(settings) {
        secrets.push((format!("{section}.tls_key_path"), &*tls.pair.key_path));
    }
    if let Some(path) = &settings.htpasswd_path {
        secrets.push(("service.htpasswd_path".to_owned(), path));
    }
    if let StoreSettings::Etcd(etcd) = &settings.store {
        if let Some(pair) = &etcd.client_cert {
            secrets.push(("etcd3.client_cert_key_path".to_owned(), &pair.key_path));
        }
        if let Some(user) = &etcd.user {
            secrets.push(("etcd3.password_path".to_owned(), &user.password_path));
        }
    }
    if let Some(path) = settings
        .notify
        .as_ref()
        .and_then(|notify| notify.secret_path.as_ref())
    {
        secrets.push(("notify.secret_path".to_owned(), path));
    }
    for ConfiguredGate { table, settings } in &settings.gates {
        if let Some(pair) = &settings.client_cert {
            secrets.push((format!("{table}.client_key_path"), &pair.key_path));
        }
        if let Some((key, path)) = settings.credentials.as_ref().map(GateCredentials::file) {
            secrets.push((format!("{table}.{key}"), path));
        }
    }
    secrets
}

async fn address_problem(section: &'static str, listen: &ListenSettings) -> Option<Problem> {
    let error = check_address(section, listen).await.err()?;
    Some(Problem::error([error.key()], &error))
}

/// Returns the sections of the listeners that have a certificate of their own. The status listener may use that of the
/// service, which is reported once.
fn own_certificates(settings: &Settings) -> impl Iterator<Item = (&'static str, &TlsSettings)> {
    let service = settings.service.tls.as_ref();
    let status = settings
        .status
        .as_ref()
        .and_then(|listen| listen.tls.as_ref());
    let own = status.filter(|tls| service.is_none_or(|service| service.pair != tls.pair));
    let service = service.map(|tls| ("service", tls));
    service.into_iter().chain(own.map(|tls| ("status", tls)))
}

/// Returns the problems with the files of the listeners.
fn listener_file_problems(settings: &Settings) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (section, tls) in own_certificates(settings) {
        problems.extend(tls_problems(section, tls));
    }
    if let Some(path) = &settings.htpasswd_path {
        problems.extend(htpasswd_problems(path, settings));
    }
    if let Some(path) = &settings.node_names_path {
        problems.extend(node_names_problems(path));
    }
    problems
}

fn tls_problems(section: &str, tls: &TlsSettings) -> Vec<Problem> {
    let keys = ["tls_cert_path", "tls_key_path"].map(|key| format!("{section}.{key}"));
    let check_pair = || {
        tls::check(&TlsSettings {
            pair: tls.pair.clone(),
            client_ca_path: None,
        })
    };
    let mut problems = pair_problems(keys, &tls.pair, check_pair);
    if let Some(Err(error)) = tls.client_ca_path.as_deref().map(tls::ca_pem) {
        problems.push(Problem::error(
            [format!("{section}.client_ca_path")],
            &error,
        ));
    }
    problems
}

/// Returns the problems with a certificate and its key. `check_pair` is called if both can be read.
fn pair_problems(
    [cert_key, key_key]: [String; 2],
    pair: &KeyPair,
    check_pair: impl FnOnce() -> Result<(), TlsError>,
) -> Vec<Problem> {
    let cert = tls::certificates(&pair.cert_path).err();
    let key = tls::private_key(&pair.key_path).err();
    if cert.is_none() && key.is_none() {
        let problem = check_pair().err().map(|error| match error {
            TlsError::Expired { .. } => Problem {
                is_fatal: false,
                keys: vec![cert_key],
                text: format!("clients will refuse to connect: {}", explain(&error)),
            },
            TlsError::Mismatch { .. } | TlsError::Pair { .. } => {
                Problem::error([cert_key, key_key], &error)
            }
            _ => Problem::error([cert_key], &error),
        });
        return problem.into_iter().collect();
    }
    let cert = cert.map(|error| Problem::error([cert_key], &error));
    let key = key.map(|error| Problem::error([key_key], &error));
    cert.into_iter().chain(key).collect()
}

/// Returns the problems with the htpasswd file. A user that it does not contain is a warning: the file may be changed
/// while the server runs.
fn htpasswd_problems(path: &Path, settings: &Settings) -> Vec<Problem> {
    let key = "service.htpasswd_path";
    let unknown = match auth::check(path, &settings.groups) {
        Ok(unknown) => unknown,
        Err(HtpasswdError::Lines { path, lines }) if lines.len() <= MAX_LINES => {
            return line_problems(key, &path, lines);
        }
        Err(error) => return vec![Problem::error([key.to_owned()], &error)],
    };
    let mut groups_of = BTreeMap::<String, Vec<String>>::new();
    for unknown in unknown {
        let groups = groups_of.entry(unknown.user).or_default();
        groups.push(unknown.group.to_string());
    }
    let file = path.display();
    let problem = |(user, groups): (String, Vec<String>)| Problem {
        is_fatal: false,
        keys: vec![key.to_owned()],
        text: format!(
            "{file}: contains no user {user:?}, which may lock in {groups}; add it with: htpasswd -B {} {}",
            command_path(path),
            shell_word(&user),
            groups = match &groups[..] {
                [group] => format!("group {group}"),
                groups => format!("groups {}", groups.join(", ")),
            },
        ),
    };
    groups_of.into_iter().map(problem).collect()
}

fn node_names_problems(path: &Path) -> Vec<Problem> {
    let key = "service.node_names_path";
    match NodeNames::load(path.to_owned()) {
        Ok(_) => Vec::new(),
        Err(NodeNamesError::Lines {
            path,
            lines,
            more: 0,
        }) => line_problems(key, &path, lines),
        Err(error) => vec![Problem::error([key.to_owned()], &error)],
    }
}

/// Returns a problem for each line, so that each has its own line in the output.
fn line_problems(key: &str, path: &Path, lines: Vec<(usize, impl Display)>) -> Vec<Problem> {
    let problem = |(line, problem)| Problem {
        is_fatal: true,
        keys: vec![key.to_owned()],
        text: format!("{}:{line}: {problem}", path.display()),
    };
    lines.into_iter().map(problem).collect()
}

fn embedded_problem(path: &Path, timeout: Duration) -> Option<Problem> {
    // Without exactly one store, or without a path, there is an error already.
    if path.as_os_str().is_empty() {
        return None;
    }
    let error = sqlite::check(path, timeout).err()?;
    Some(Problem::error(["embedded.path".to_owned()], &error))
}

/// Returns the problems with the files for the connection to etcd.
fn etcd_problems(etcd: &EtcdSettings) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(Err(error)) = etcd.ca_cert_path.as_deref().map(tls::ca_pem) {
        problems.push(Problem::error(["etcd3.ca_cert_path".to_owned()], &error));
    }
    if let Some(pair) = &etcd.client_cert {
        let keys = ["pub", "key"].map(|file| format!("etcd3.client_cert_{file}_path"));
        let check_pair = || tls::key_pair_pem(pair).map(drop);
        problems.extend(pair_problems(keys, pair, check_pair));
    }
    let password_only = EtcdSettings {
        cluster_id: None,
        ca_cert_path: None,
        client_cert: None,
        ..etcd.clone()
    };
    if let Err(error) = Credentials::load(password_only) {
        problems.push(Problem::error(["etcd3.password_path".to_owned()], &error));
    }
    problems
}

/// Returns the problems with the files for the receiver of events.
fn notify_problems(notify: &NotifySettings) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(Err(error)) = notify.secret_path.as_deref().map(check_secret) {
        problems.push(Problem::error(["notify.secret_path".to_owned()], &error));
    }
    if let Some(Err(error)) = notify.ca_cert_path.as_deref().map(tls::ca_pem) {
        problems.push(Problem::error(["notify.ca_cert_path".to_owned()], &error));
    }
    problems
}

/// Returns the problems with the files for a gate.
fn gate_problems(gate: &ConfiguredGate) -> Vec<Problem> {
    let ConfiguredGate { table, settings } = gate;
    let mut problems = Vec::new();
    if let Some(Err(error)) = settings.ca_cert_path.as_deref().map(tls::ca_pem) {
        problems.push(Problem::error([format!("{table}.ca_cert_path")], &error));
    }
    if let Some(pair) = &settings.client_cert {
        let keys = ["cert", "key"].map(|file| format!("{table}.client_{file}_path"));
        let check_pair = || tls::key_pair_pem(pair).map(drop);
        problems.extend(pair_problems(keys, pair, check_pair));
    }
    if let Some(credentials) = &settings.credentials
        && let Err(error) = check_credentials(credentials)
    {
        let (key, _) = credentials.file();
        problems.push(Problem::error([format!("{table}.{key}")], &error));
    }
    problems
}

// === impl Problem ===

impl Problem {
    /// Creates a problem with which a server would not start.
    fn error<const N: usize>(keys: [String; N], error: &dyn Remedy) -> Self {
        Problem {
            is_fatal: true,
            keys: keys.into(),
            text: explain(error),
        }
    }
}
