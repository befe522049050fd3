//! A certificate authority and the certificates that it issues, as PEM files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

/// A CA with a temporary folder for its files.
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// The files of a certificate and its key.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The path of the certificate.
    pub cert: PathBuf,
    /// The path of the private key.
    pub key: PathBuf,
}

impl Ca {
    /// Creates a CA with this name.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Ca { issuer, folder }
    }

    /// Returns the path of the CA's own certificate.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Issues a certificate for these names. `file` is the name of its files and of its subject.
    pub fn issue(&self, file: &str, names: &[&str]) -> Pair {
        self.issue_with(file, names, |_| {})
    }

    /// Issues a certificate as [`Ca::issue`] does, with parameters that `change` modifies.
    pub fn issue_with(
        &self,
        file: &str,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Pair {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, file);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let pair = Pair {
            cert: self.folder.path().join(format!("{file}.pem")),
            key: self.folder.path().join(format!("{file}-key.pem")),
        };
        fs::write(&pair.cert, cert.pem()).unwrap();
        secret(&pair.key, &key.serialize_pem());
        pair
    }
}

impl Pair {
    /// Replaces the files of another pair with those of this one, one file after the other, as an
    /// administrator would.
    pub fn replace(&self, old: &Pair) {
        for (new, old) in [(&self.cert, &old.cert), (&self.key, &old.key)] {
            let beside = old.with_extension("new");
            fs::copy(new, &beside).unwrap();
            fs::rename(&beside, old).unwrap();
        }
    }
}

/// Writes a file that only its owner can read.
pub fn secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
