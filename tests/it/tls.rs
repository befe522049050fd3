//! TLS of the listeners: connections, rotation of certificates, and errors of wrong settings.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rcgen::date_time_ymd;
use reqwest::blocking::{Client as Http, ClientBuilder};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use airlock_test_support::airlock::{Airlock, refusal_to_start};
use airlock_test_support::client::{self, Client};
use airlock_test_support::pki::{Ca, Pair};
use airlock_test_support::{SetOnDrop, eventually};

const BODY: &str = r#"{"client_params":{"id":"n","group":"default"}}"#;

/// Returns a configuration of `[service]` with TLS, `[status]` without TLS, and a store.
fn config(pair: &Pair, more: &str) -> String {
    let (cert, key) = (&pair.cert, &pair.key);
    format!(
        "[service]\naddress = \"127.0.0.1\"\nport = 0\ntls_cert_path = {cert:?}\ntls_key_path = {key:?}\n{more}\n\
         [status]\nenabled = true\naddress = \"127.0.0.1\"\nport = 0\n\
         [embedded]\npath = \"{{folder}}/airlock.db\"\n"
    )
}

fn start(pair: &Pair, more: &str) -> Airlock {
    Airlock::start_with(&config(pair, more), &["-vv"])
}

fn trusting(ca: &Ca) -> ClientBuilder {
    let ca = reqwest::Certificate::from_pem(&fs::read(ca.path()).unwrap()).unwrap();
    Http::builder().tls_certs_only([ca])
}

fn https(airlock: &Airlock) -> String {
    airlock.url().replace("http://", "https://")
}

fn curl(ca: &Path, arguments: &[&str], url: &str) -> Output {
    Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "60"])
        .args(["--header", "fleet-lock-protocol: true", "--data", BODY])
        .args(["--write-out", "%{http_version} %{http_code}"])
        .arg("--cacert")
        .arg(ca)
        .args(arguments)
        .arg(format!("{url}/v1/pre-reboot"))
        .output()
        .expect("curl cannot be started; `make setup` installs what is missing")
}

#[test]
fn curl_and_a_node_connect_with_each_version_of_tls_and_http() {
    let ca = Ca::new("ca");
    let airlock = start(&ca.issue("server", &["127.0.0.1"]), "");
    for (arguments, expected) in [
        (
            &["--tlsv1.2", "--tls-max", "1.2", "--http1.1"][..],
            "1.1 200",
        ),
        (&["--tlsv1.2", "--tls-max", "1.2", "--http2"], "2 200"),
        (&["--tlsv1.3", "--http1.1"], "1.1 200"),
        (&["--tlsv1.3", "--http2"], "2 200"),
    ] {
        let output = curl(&ca.path(), arguments, &https(&airlock));
        let status = String::from_utf8_lossy(&output.stdout);
        assert_eq!(status, expected, "{arguments:?}: {output:?}");
    }
    // A client that does not trust the CA does not connect.
    let output = curl(&Ca::new("other").path(), &[], &https(&airlock));
    assert_eq!(output.status.code(), Some(60), "{output:?}");

    let node = Client::over(https(&airlock), trusting(&ca));
    assert!(node.lock("default", "n").granted());
    assert!(node.unlock("default", "n").granted());
}

#[test]
fn the_status_listener_can_use_the_services_certificate() {
    let ca = Ca::new("ca");
    let config = config(&ca.issue("server", &["127.0.0.1"]), "");
    let config = config.replace("enabled = true", "enabled = true\ntls = true");
    let airlock = Airlock::start_with(&config, &["-vv"]);
    let url = airlock.status_url().replace("http://", "https://");
    let http = trusting(&ca).build().unwrap();
    let response = client::send(http.get(format!("{url}/healthz")));
    assert_eq!((response.status, &*response.body), (200, "ok\n"));
}

#[test]
fn only_clients_with_a_certificate_of_the_ca_are_accepted() {
    let ca = Ca::new("ca");
    let clients = Ca::new("clients");
    let more = format!("client_ca_path = {:?}", clients.path());
    let airlock = start(&ca.issue("server", &["127.0.0.1"]), &more);
    let with = |pair: &Pair| {
        let mut pem = fs::read(&pair.cert).unwrap();
        pem.extend(fs::read(&pair.key).unwrap());
        trusting(&ca).identity(reqwest::Identity::from_pem(&pem).unwrap())
    };
    let knock =
        |builder| Client::over(https(&airlock), builder).try_post("v1/pre-reboot", "default", "n");
    assert!(knock(with(&clients.issue("proxy", &[]))).unwrap().granted());
    assert!(knock(trusting(&ca)).is_err());
    assert!(knock(with(&ca.issue("of another ca", &[]))).is_err());
    let rejected =
        r#"airlock_rejected_connections_total{listener="service",reason="tls_handshake"}"#;
    assert!(airlock.metric(rejected).unwrap() >= 2.0);
}

/// A pair of links into a folder that is replaced as a whole, as the kubelet does for a mounted secret.
struct Rotation<'a> {
    ca: &'a Ca,
    folder: tempfile::TempDir,
}

impl<'a> Rotation<'a> {
    fn new(ca: &'a Ca) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rotation = Rotation { ca, folder };
        for name in ["tls.crt", "tls.key"] {
            symlink(format!("..data/{name}"), rotation.path(name)).unwrap();
        }
        rotation
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pair(&self) -> Pair {
        Pair {
            cert: self.path("tls.crt"),
            key: self.path("tls.key"),
        }
    }

    /// Replaces the pair with one that expires at the start of `year`.
    fn replace(&self, year: i32) {
        let pair = issue_until(self.ca, "server", year);
        let version = self.path(&format!("..{year}"));
        fs::create_dir(&version).unwrap();
        fs::copy(&pair.cert, version.join("tls.crt")).unwrap();
        fs::copy(&pair.key, version.join("tls.key")).unwrap();
        symlink(&version, self.path("..new")).unwrap();
        fs::rename(self.path("..new"), self.path("..data")).unwrap();
    }
}

/// Issues a certificate that expires at the start of `year`.
fn issue_until(ca: &Ca, file: &str, year: i32) -> Pair {
    ca.issue_with(file, &["127.0.0.1"], |params| {
        params.not_after = date_time_ymd(year, 1, 1);
    })
}

/// Waits until the metric shows a certificate that expires at the start of `year`.
fn wait_for_expiry(airlock: &Airlock, year: i32, what: &str) {
    let expiry = r#"airlock_tls_certificate_expiry_timestamp_seconds{listener="service"}"#;
    let expected = date_time_ymd(year, 1, 1).unix_timestamp() as f64;
    eventually(what, || {
        (airlock.metric(expiry) == Some(expected)).then_some(())
    });
}

#[test]
fn certificates_are_rotated_under_load_and_no_request_fails() {
    let ca = Ca::new("ca");
    let rotation = Rotation::new(&ca);
    rotation.replace(2040);
    let airlock = start(&rotation.pair(), "");
    let (done, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _end = SetOnDrop(&done);
        for worker in 0..4 {
            let (airlock, ca, done, requests) = (&airlock, &ca, &done, &requests);
            scope.spawn(move || {
                let id = format!("n{worker}");
                // One client keeps its connection, the others open a connection for each request.
                let kept = Client::over(https(airlock), trusting(ca));
                while !done.load(Ordering::Relaxed) {
                    let fresh =
                        Client::over(https(airlock), trusting(ca).pool_max_idle_per_host(0));
                    let node = if worker == 0 { &kept } else { &fresh };
                    assert!(node.unlock("default", &id).granted());
                    requests.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for year in 2041..2045 {
            rotation.replace(year);
            let before = requests.load(Ordering::Relaxed);
            wait_for_expiry(&airlock, year, "the new certificate to be in use");
            let http = trusting(&ca).tls_info(true).build().unwrap();
            let response = http.get(https(&airlock)).send().unwrap();
            let info: &reqwest::tls::TlsInfo = response.extensions().get().unwrap();
            let file = CertificateDer::from_pem_file(rotation.path("tls.crt")).unwrap();
            assert_eq!(info.peer_certificate(), Some(&*file), "{year}");
            eventually("requests to go on", || {
                (requests.load(Ordering::Relaxed) > before + 8).then_some(())
            });
        }
    });
}

#[test]
fn a_bad_new_pair_is_reported_and_the_old_one_stays_in_use() {
    let ca = Ca::new("ca");
    let pair = ca.issue("server", &["127.0.0.1"]);
    let mut airlock = start(&pair, "");
    let failures = r#"airlock_tls_reload_failures_total{target="service"}"#;
    let mut expected = 0.0;
    let mut fails = |airlock: &mut Airlock, text: &str| {
        airlock.wait_for_log(text);
        expected += 1.0;
        eventually("the failure to be counted", || {
            (airlock.metric(failures)? >= expected).then_some(())
        });
        let node = Client::over(https(airlock), trusting(&ca));
        assert!(node.unlock("default", "n").granted(), "{text}");
    };
    let key = fs::read_to_string(&pair.key).unwrap();

    fs::write(&pair.key, "-----BEGIN PRIVATE KEY-----\nAAAA\n").unwrap();
    fails(&mut airlock, "is not a PEM private key");
    fs::remove_file(&pair.key).unwrap();
    fails(&mut airlock, "cannot be read: No such file");
    fs::write(&pair.key, &key).unwrap();
    let expired = issue_until(&ca, "expired", 2020);
    expired.replace(&pair);
    fails(
        &mut airlock,
        "contains a certificate that expired at 2020-01-01T00:00:00Z",
    );
    assert_check_config_warns_about_clients(&airlock);
    fs::write(&pair.key, &key).unwrap();
    fails(&mut airlock, "do not belong together");
    assert!(
        !airlock.log().contains("AAAA"),
        "the content of a key file is not logged"
    );

    // A good pair is loaded again, even with an expired certificate behind it in the chain.
    let last = issue_until(&ca, "last", 2041);
    let chain = [&last.cert, &expired.cert].map(|path| fs::read_to_string(path).unwrap());
    fs::write(&last.cert, chain.concat()).unwrap();
    last.replace(&pair);
    wait_for_expiry(&airlock, 2020, "the chain to be in use");
    fs::write(&pair.cert, &chain[0]).unwrap();
    wait_for_expiry(&airlock, 2041, "the good pair to be in use");
}

fn assert_check_config_warns_about_clients(airlock: &Airlock) {
    let checked = airlock.command(&["check-config"]);
    let checked = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.starts_with("warning: "), "{checked}");
    assert!(
        checked.contains("clients will refuse to connect: "),
        "{checked}"
    );
}

#[test]
fn an_unusable_pair_prevents_the_start_with_a_reason() {
    let ca = Ca::new("ca");
    let (one, two) = (
        ca.issue("one", &["localhost"]),
        ca.issue("two", &["localhost"]),
    );
    let nowhere = ca.path().with_file_name("nowhere.pem");
    for (cert, key, expected, place) in [
        (
            &nowhere,
            &one.key,
            "nowhere.pem: cannot be read: No such file or directory",
            ":4, service.tls_cert_path)",
        ),
        (
            &one.key,
            &one.key,
            "one-key.pem: contains no PEM certificate",
            ":4, service.tls_cert_path)",
        ),
        (
            &one.cert,
            &one.cert,
            "one.pem: contains no PEM private key without a passphrase",
            ":5, service.tls_key_path)",
        ),
        (
            &one.cert,
            &two.key,
            "do not belong together; name the key of the first certificate in the file",
            ":4, service.tls_cert_path, service.tls_key_path)",
        ),
    ] {
        let pair = Pair {
            cert: cert.clone(),
            key: key.clone(),
        };
        let status = refusal_to_start(&config(&pair, ""));
        assert!(status.contains(expected), "{status}");
        assert!(status.contains(place), "{status}");
    }
    let more = format!("client_ca_path = {:?}", one.key);
    let status = refusal_to_start(&config(&one, &more));
    assert!(
        status.contains("one-key.pem: contains no PEM certificate"),
        "{status}"
    );
}

#[test]
fn check_config_names_unusable_files() {
    let ca = Ca::new("ca");
    let pair = ca.issue("server", &["127.0.0.1"]);
    let airlock = start(&pair, "");
    let check = || String::from_utf8(airlock.command(&["check-config"]).stdout).unwrap();
    assert!(!check().contains("warning"), "{}", check());
    fs::remove_file(&pair.key).unwrap();
    let status = check();
    assert!(
        status.starts_with("error: ")
            && status.contains("service.tls_key_path")
            && status.contains("server-key.pem: cannot be read"),
        "{status}"
    );
}

#[test]
fn only_a_key_that_other_users_can_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let ca = Ca::new("ca");
    let pair = ca.issue("server", &["127.0.0.1"]);
    let warning = "every user of this machine can access the secret";
    assert!(!start(&pair, "").log().contains(warning));
    fs::set_permissions(&pair.key, fs::Permissions::from_mode(0o644)).unwrap();
    let log = start(&pair, "").log();
    let line = log.lines().find(|line| line.contains(warning)).unwrap();
    assert!(
        line.contains("server-key.pem") && line.contains("level=warning"),
        "{line}"
    );
}

#[test]
fn an_unfinished_handshake_does_not_delay_the_shutdown() {
    let ca = Ca::new("ca");
    let mut airlock = start(&ca.issue("server", &["127.0.0.1"]), "");
    let address = airlock.url().replace("http://", "");
    let _silent = std::net::TcpStream::connect(address).unwrap();
    let open = r#"airlock_connections{listener="service"}"#;
    eventually("the connection", || {
        (airlock.metric(open) == Some(1.0)).then_some(())
    });
    airlock.terminate();
    assert!(airlock.process().wait().success());
    assert!(!airlock.log().contains("cut off"), "{}", airlock.log());
}
