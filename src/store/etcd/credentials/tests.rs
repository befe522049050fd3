use std::fs;

use airlock_test_support::pki::{self, Ca};
use tempfile::TempDir;

use super::*;
use crate::config::{EtcdUser, KeyPair};

const HTTPS: &str = "https://etcd.example:2379";
const HTTP: &str = "http://etcd.example:2379";

/// The files of credentials that use all settings.
struct Files {
    ca: Ca,
    pair: pki::Pair,
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        let ca = Ca::new("ca");
        let pair = ca.issue("airlock-1", &["airlock.example"]);
        let folder = tempfile::tempdir().unwrap();
        let files = Files { ca, pair, folder };
        fs::write(files.password(), "secret\r\n").unwrap();
        files
    }

    fn password(&self) -> PathBuf {
        self.folder.path().join("password")
    }

    /// Returns settings with the CA and the client certificate, but without a user.
    fn certificate_settings(&self) -> EtcdSettings {
        EtcdSettings {
            client_cert: Some(KeyPair {
                cert_path: self.pair.cert.clone(),
                key_path: self.pair.key.clone(),
            }),
            ca_cert_path: Some(self.ca.path()),
            ..plain_settings()
        }
    }

    fn all_settings(&self) -> EtcdSettings {
        EtcdSettings {
            user: Some(EtcdUser {
                name: "airlock".into(),
                password_path: self.password(),
            }),
            ..self.certificate_settings()
        }
    }
}

fn plain_settings() -> EtcdSettings {
    EtcdSettings {
        endpoints: vec![HTTPS.into()],
        cluster_id: None,
        ca_cert_path: None,
        client_cert: None,
        user: None,
    }
}

fn user_with_password(password: &str) -> Option<(String, String)> {
    Some(("airlock".into(), password.into()))
}

#[test]
fn a_reload_replaces_the_password_and_begins_a_generation() {
    let files = Files::new();
    let credentials = Credentials::load(files.all_settings()).unwrap();
    assert_eq!(credentials.generation(), 0);
    assert_eq!(credentials.user(), user_with_password("secret"));

    fs::write(files.password(), " with spaces \n").unwrap();
    assert_eq!(credentials.user(), user_with_password("secret"));
    for generation in [1, 2] {
        credentials.reload().unwrap();
        assert_eq!(credentials.generation(), generation);
        assert_eq!(credentials.user(), user_with_password(" with spaces "));
    }

    fs::write(files.password(), "\n").unwrap();
    let error = credentials.reload().unwrap_err();
    let text = format!("{}: is empty", files.password().display());
    assert_eq!(error.to_string(), text);
    assert_eq!(credentials.generation(), 2);
    assert_eq!(credentials.user(), user_with_password(" with spaces "));
}

#[test]
fn every_file_is_watched() {
    let files = Files::new();
    let credentials = Credentials::load(files.all_settings()).unwrap();
    assert_eq!(credentials.what(), "etcd3");
    assert_eq!(
        credentials.paths(),
        [
            files.ca.path(),
            files.pair.cert.clone(),
            files.pair.key.clone(),
            files.password(),
        ]
    );
}

#[test]
fn etcdctl_gets_the_same_files_and_no_password() {
    let files = Files::new();
    let credentials = Credentials::load(files.all_settings()).unwrap();
    let path = |path: &Path| path.display().to_string();
    assert_eq!(
        credentials.etcdctl_options(),
        [
            "--cacert".into(),
            path(&files.ca.path()),
            "--cert".into(),
            path(&files.pair.cert),
            "--key".into(),
            path(&files.pair.key),
            "--user".into(),
            "airlock".into(),
        ]
    );
}

#[test]
fn the_certificate_and_the_password_are_used_where_they_are_meant() {
    let files = Files::new();
    let credentials = Credentials::load(files.all_settings()).unwrap();
    let text = |options: ConnectOptions| format!("{options:?}");
    let (ca, (cert, key)) = (
        fs::read(files.ca.path()).unwrap(),
        (
            fs::read(&files.pair.cert).unwrap(),
            fs::read(&files.pair.key).unwrap(),
        ),
    );
    let tls = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(ca))
        .identity(Identity::from_pem(cert, key));
    let plain = ConnectOptions::new;
    for (url, options) in [(HTTPS, plain().with_tls(tls)), (HTTP, plain())] {
        let without_user = credentials.options_without_user(url);
        assert_eq!(text(without_user), text(options.clone()), "{url}");
        let with_user = options.with_user("airlock", "secret");
        assert_eq!(text(credentials.options(url)), text(with_user), "{url}");
    }
    assert!(credentials.tls(HTTP).is_none());
}

#[test]
fn etcd_takes_the_user_from_the_certificate_only_if_none_is_configured() {
    let files = Files::new();
    let name = |settings, url| {
        let credentials = Credentials::load(settings).unwrap();
        credentials.certificate_user(url)
    };
    let by_certificate = name(files.certificate_settings(), HTTPS);
    assert_eq!(by_certificate.as_deref(), Some("airlock-1"));
    assert_eq!(name(files.certificate_settings(), HTTP), None);
    assert_eq!(name(files.all_settings(), HTTPS), None);
    assert_eq!(name(plain_settings(), HTTPS), None);
}

#[test]
fn an_error_names_the_key_and_the_remedy() {
    let files = Files::new();
    let missing = files.folder.path().join("missing");
    let empty = files.folder.path().join("empty");
    fs::write(&empty, "\n").unwrap();
    let with_ca = |path: &Path| EtcdSettings {
        ca_cert_path: Some(path.to_owned()),
        ..files.all_settings()
    };
    let with_password = |path: &Path| {
        let user = EtcdUser {
            name: "airlock".into(),
            password_path: path.to_owned(),
        };
        EtcdSettings {
            user: Some(user),
            ..files.all_settings()
        }
    };
    let without_certificate = EtcdSettings {
        client_cert: Some(KeyPair {
            cert_path: missing.clone(),
            key_path: files.pair.key.clone(),
        }),
        ..files.all_settings()
    };
    let create = "create the file, or correct the path";
    for (settings, key, remedy) in [
        (with_ca(&missing), "etcd3.ca_cert_path", create),
        (without_certificate, "etcd3.client_cert_pub_path", create),
        (with_password(&missing), "etcd3.password_path", create),
        (
            with_password(&empty),
            "etcd3.password_path",
            "write the password of the etcd user into it",
        ),
    ] {
        let error = Credentials::load(settings).err().unwrap();
        assert_eq!(error.key(), key);
        assert_eq!(error.remedy().as_deref(), Some(remedy), "{error}");
    }
}
