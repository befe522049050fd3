//! The check of the files that the configuration names.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::auth;
use crate::config::{EtcdSettings, KeyPair, Settings, StoreSettings, TlsSettings};
use crate::store::etcd::Credentials;
use crate::text::escape::shell_word;
use crate::tls::{self, TlsError};

/// A problem with a file.
pub(super) struct FileProblem {
    /// Whether a server would not start.
    pub(super) is_fatal: bool,
    /// The key that names the file.
    pub(super) key: String,
    pub(super) text: String,
}

/// Returns all problems with the files that `settings` name.
pub(super) fn problems(settings: &Settings) -> Vec<FileProblem> {
    let mut problems = Vec::new();
    let service = settings.service.tls.as_ref();
    if let Some(tls) = service {
        problems.extend(listener_problems("service", tls));
    }
    // The status listener may use the certificate of the service, which is reported once.
    let status = settings
        .status
        .as_ref()
        .and_then(|listen| listen.tls.as_ref());
    if let Some(tls) = status
        && service.is_none_or(|service| service.pair != tls.pair)
    {
        problems.extend(listener_problems("status", tls));
    }
    if let Some(path) = &settings.htpasswd_path {
        problems.extend(htpasswd_problems(path, settings));
    }
    match &settings.store {
        StoreSettings::Etcd(etcd) => problems.extend(etcd_problems(etcd)),
        StoreSettings::Embedded { path } => problems.extend(embedded_problem(path)),
    }
    problems
}

/// Returns the problems with the files of a listener.
fn listener_problems(section: &str, tls: &TlsSettings) -> Vec<FileProblem> {
    let keys = [
        format!("{section}.tls_cert_path"),
        format!("{section}.tls_key_path"),
    ];
    let check_pair = || {
        tls::check(&TlsSettings {
            pair: tls.pair.clone(),
            client_ca_path: None,
        })
    };
    let mut problems = pair_problems(&keys, &tls.pair, check_pair);
    if let Some(Err(error)) = tls.client_ca_path.as_deref().map(tls::ca_pem) {
        problems.push(FileProblem::fatal(
            format!("{section}.client_ca_path"),
            &error,
        ));
    }
    problems
}

/// Returns the problems with a certificate and its key. `check_pair` is called if both can be read.
fn pair_problems(
    [cert_key, key_key]: &[String; 2],
    pair: &KeyPair,
    check_pair: impl FnOnce() -> Result<(), TlsError>,
) -> Vec<FileProblem> {
    let cert = tls::certificates(&pair.cert_path).err();
    let key = tls::private_key(&pair.key_path).err();
    if cert.is_none() && key.is_none() {
        let problem = match check_pair() {
            Ok(()) => None,
            Err(error @ TlsError::Expired { .. }) => Some(FileProblem {
                is_fatal: false,
                key: cert_key.clone(),
                text: format!("clients will refuse to connect: {error}"),
            }),
            Err(error @ TlsError::Mismatch { .. }) => {
                Some(FileProblem::fatal(format!("{cert_key}, {key_key}"), &error))
            }
            Err(error) => Some(FileProblem::fatal(cert_key.clone(), &error)),
        };
        return problem.into_iter().collect();
    }
    let cert = cert.map(|error| FileProblem::fatal(cert_key.clone(), &error));
    let key = key.map(|error| FileProblem::fatal(key_key.clone(), &error));
    cert.into_iter().chain(key).collect()
}

/// Returns the problems with the htpasswd file. A user that it does not contain is a warning: the file may be changed
/// while the server runs.
fn htpasswd_problems(path: &Path, settings: &Settings) -> Vec<FileProblem> {
    let key = || "service.htpasswd_path".to_owned();
    let unknown = match auth::check(path, &settings.groups) {
        Ok(unknown) => unknown,
        Err(error) => return vec![FileProblem::fatal(key(), &error)],
    };
    let mut groups_of = BTreeMap::<String, Vec<String>>::new();
    for unknown in unknown {
        let groups = groups_of.entry(unknown.user).or_default();
        groups.push(unknown.group.to_string());
    }
    let file = path.display();
    let problem = |(user, groups): (String, Vec<String>)| FileProblem {
        is_fatal: false,
        key: key(),
        text: format!(
            "{file}: contains no user {user:?}, which may lock in {groups}; add it with: htpasswd -B {} {}",
            shell_word(&file.to_string()),
            shell_word(&user),
            groups = match &groups[..] {
                [group] => format!("group {group}"),
                groups => format!("groups {}", groups.join(", ")),
            },
        ),
    };
    groups_of.into_iter().map(problem).collect()
}

/// Returns the problems with the files for the connection to etcd.
fn etcd_problems(etcd: &EtcdSettings) -> Vec<FileProblem> {
    let mut problems = Vec::new();
    if let Some(Err(error)) = etcd.ca_cert_path.as_deref().map(tls::ca_pem) {
        problems.push(FileProblem::fatal("etcd3.ca_cert_path".into(), &error));
    }
    if let Some(pair) = &etcd.client_cert {
        let keys = ["pub", "key"].map(|file| format!("etcd3.client_cert_{file}_path"));
        let check_pair = || tls::key_pair_pem(pair).map(drop);
        problems.extend(pair_problems(&keys, pair, check_pair));
    }
    let password_only = EtcdSettings {
        ca_cert_path: None,
        client_cert: None,
        ..etcd.clone()
    };
    if let Err(error) = Credentials::load(password_only) {
        problems.push(FileProblem::fatal("etcd3.password_path".into(), &error));
    }
    problems
}

/// Returns the problem with the folder of the embedded store, which has to exist. The server creates the file itself.
fn embedded_problem(path: &Path) -> Option<FileProblem> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().unwrap_or(&path);
    let (folder_text, path_text) = (folder.display(), path.display());
    let text = match folder.metadata() {
        Err(error) => format!(
            "the folder {folder_text} cannot be used: {error}; create it, or change the path"
        ),
        Ok(metadata) if !metadata.is_dir() => {
            format!("{folder_text} is not a folder; change the path")
        }
        Ok(_) if path.is_dir() => {
            format!("{path_text} is a folder; name a file in it")
        }
        Ok(_) => match first_bytes(&path) {
            Ok(bytes) if bytes.is_empty() || bytes == SQLITE_MAGIC => return None,
            Ok(_) => {
                format!("{path_text} is not a SQLite database; move it away, or name another file")
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => format!("{path_text} cannot be read: {error}"),
        },
    };
    Some(FileProblem {
        is_fatal: true,
        key: "embedded.path".into(),
        text,
    })
}

/// The first bytes of a SQLite database. Source: https://www.sqlite.org/fileformat.html, "The Database Header".
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

fn first_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let length = SQLITE_MAGIC.len() as u64;
    File::open(path)?.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

// === impl FileProblem ===

impl FileProblem {
    /// Creates the problem that a server would fail with. The key is not repeated if the error names it too.
    fn fatal(key: String, error: &impl ToString) -> Self {
        let text = error.to_string();
        let suffix = format!(" ({key})");
        let text = text.strip_suffix(&suffix).unwrap_or(&text).to_owned();
        FileProblem {
            is_fatal: true,
            key,
            text,
        }
    }
}
