//! The secret and the CAs, and their reload.

use std::fs;
use std::path::{Path, PathBuf};

use airlock_test_support::pki::{Ca, Pair};
use tempfile::TempDir;

use super::*;
use crate::config::{KeyPair, TlsSettings};
use crate::notify::check_secret;
use crate::text::explain::explain;
use crate::tls::ServerTls;

/// Returns a file with this secret.
fn secret(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn server_tls(Pair { cert, key }: Pair) -> ServerTls {
    let pair = KeyPair {
        cert_path: cert,
        key_path: key,
    };
    let settings = TlsSettings {
        pair,
        client_ca_path: None,
    };
    ServerTls::load("receiver", settings).unwrap()
}

fn with_ca(url: &str, ca: &Path) -> NotifySettings {
    NotifySettings {
        ca_cert_path: Some(ca.into()),
        ..settings(url)
    }
}

#[test]
fn a_secret_has_16_bytes_or_more_and_its_remedy_is_a_command() {
    let problem = |text: &str| {
        let (_folder, path) = secret(text);
        let error = check_secret(&path).err()?;
        let text = explain(&error);
        assert!(text.ends_with(&format!(" > {}", path.display())), "{text}");
        Some(text.replace(&path.display().to_string(), "FILE"))
    };
    for valid in [
        "0123456789abcdef",
        "0123456789abcdef\r\n",
        "whsec_MDEyMzQ1Njc4OWFiY2RlZg==\n",
    ] {
        assert_eq!(problem(valid), None, "{valid}");
    }
    let remedy = "write a new one, which the receiver needs too: echo \"whsec_$(openssl rand -base64 32)\" > FILE";
    for (text, bytes) in [
        ("", 0),
        ("\n", 0),
        ("0123456789abcde\n", 15),
        ("whsec_MDEyMw==", 4),
    ] {
        let expected =
            format!("FILE: contains a secret of {bytes} bytes; at least 16 are needed; {remedy}");
        assert_eq!(problem(text), Some(expected));
    }
    let text = problem("whsec_0123456789abcdef0123456789abcdef!").unwrap();
    assert!(
        text.starts_with("FILE: contains the prefix whsec_, but no Base64 behind it: "),
        "{text}"
    );
}

#[tokio::test]
async fn a_replaced_secret_signs_the_next_event_and_one_that_is_too_short_does_not() {
    let receiver = TestReceiver::start().await;
    let (_folder, path) = secret("the first secret of the receiver\n");
    let notifier = start(NotifySettings {
        secret_path: Some(path.clone()),
        ..settings(&receiver.url)
    });
    let files = notifier.files().unwrap();
    assert_eq!(files.paths(), [&*path]);
    for (number, text) in ["the second secret of the receiver", "short"]
        .iter()
        .enumerate()
    {
        notifier.send(granted(number));
        receiver.wait_for(number + 1).await;
        fs::write(&path, text).unwrap();
        assert_eq!(files.reload().is_ok(), *text != "short");
    }
    notifier.send(granted(2));
    let received = receiver.wait_for(3).await;
    let signed_by: Vec<_> = received
        .iter()
        .map(|request| {
            let secrets =
                ["first", "second"].map(|name| format!("the {name} secret of the receiver"));
            let signature = request.header("webhook-signature");
            secrets
                .iter()
                .position(|secret| python_signature(secret, request) == signature)
        })
        .collect();
    assert_eq!(signed_by, [Some(0), Some(1), Some(1)]);
}

/// Computes the signature of a request with the standard library of Python.
fn python_signature(secret: &str, request: &receiver::Received) -> String {
    let script = "import base64, hashlib, hmac, sys\n\
                  secret, text = (argument.encode() for argument in sys.argv[1:])\n\
                  digest = hmac.new(secret, text, hashlib.sha256).digest()\n\
                  print('v1,' + base64.b64encode(digest).decode(), end='')";
    let [id, timestamp] = ["webhook-id", "webhook-timestamp"].map(|name| request.header(name));
    let signed = format!("{id}.{timestamp}.{}", request.body);
    let output = std::process::Command::new("python3")
        .args(["-c", script, secret, &signed])
        .output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

#[tokio::test]
async fn a_receiver_with_a_certificate_of_a_private_ca_is_verified() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let receiver = TestReceiver::with_tls(server_tls(ca.issue("receiver", &["localhost"]))).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    fs::copy(other.path(), &path).unwrap();
    let notifier = start(with_ca(&receiver.url, &path));
    notifier.send(granted(1));
    wait_for_failures(&notifier, 2).await;
    assert_eq!(receiver.count(), 0);

    fs::copy(ca.path(), &path).unwrap();
    notifier.files().unwrap().reload().unwrap();
    receiver.wait_for(1).await;
    settle(&notifier).await;
    assert_eq!(counts(&notifier)[0], 1);
}

#[tokio::test]
async fn the_reason_of_a_failed_connection_has_its_remedy() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let receiver = TestReceiver::with_tls(server_tls(ca.issue("receiver", &["localhost"]))).await;
    let reason = async |settings: NotifySettings| {
        let notifier = load(settings, FAST);
        explain(
            &notifier
                .delivery
                .receiver
                .deliver("id", "{}")
                .await
                .unwrap_err(),
        )
    };
    let text = reason(with_ca(&receiver.url, &other.path())).await;
    assert!(
        text.starts_with("cannot connect: invalid peer certificate: "),
        "{text}"
    );
    assert!(
        text.contains("; set notify.ca_cert_path to the CA that has issued "),
        "{text}"
    );
    let plain = receiver.url.replace("https", "http");
    let text = reason(settings(&plain)).await;
    assert!(text.starts_with("no response: "), "{text}");
    let text = reason(settings("http://127.0.0.1:1")).await;
    assert_eq!(
        text,
        "cannot connect: tcp connect error: Connection refused (os error 111); check that the receiver runs, and that \
         notify.url names it"
    );
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_key() {
    let key = |settings: NotifySettings| {
        let metrics = NotifyMetrics::register(&Registry::new()).unwrap();
        let error = Notifier::load(settings, "server1", metrics).err().unwrap();
        assert!(explain(&error).starts_with("/missing: cannot be read: No such file"));
        error.key()
    };
    let missing = Path::new("/missing");
    let ca = with_ca("https://localhost", missing);
    assert_eq!(key(ca), "notify.ca_cert_path");
    let secret = NotifySettings {
        secret_path: Some(missing.into()),
        ..settings("https://localhost")
    };
    assert_eq!(key(secret), "notify.secret_path");
}
