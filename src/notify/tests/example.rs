//! examples/notify-receiver.py as the receiver, and what docs/reference.md says about verification.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";

/// The example as a process, which is killed when it is dropped.
struct Example {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Example {
    fn start(secret: &Path) -> Self {
        let mut process = Command::new("python3")
            .arg("examples/notify-receiver.py")
            .arg("0")
            .arg(secret)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Example { process, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    fn url(&mut self) -> String {
        let line = self.line();
        let port = line.strip_prefix("listening on port ").unwrap();
        format!("http://127.0.0.1:{port}/")
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn the_example_prints_events_with_its_secret_and_rejects_others() {
    let folder = tempfile::tempdir().unwrap();
    let [own, other] = ["own", "other"].map(|name| folder.path().join(name));
    fs::write(&own, SECRET).unwrap();
    fs::write(&other, "another secret of the receiver").unwrap();
    let mut example = Example::start(&own);
    let url = example.url();
    let signed_with = |secret: &Path| NotifySettings {
        secret_path: Some(secret.into()),
        ..settings(&url)
    };
    let impostor = start(signed_with(&other));
    impostor.send(granted(1));
    let unsigned = start(settings(&url));
    unsigned.send(granted(2));
    let notifier = start(signed_with(&own));
    for number in [3, 4] {
        notifier.send(granted(number));
    }
    for notifier in [&impostor, &unsigned, &notifier] {
        settle(notifier).await;
    }
    assert_eq!(counts(&impostor), [0, 1, 0, 1]);
    assert_eq!(counts(&unsigned), [0, 1, 0, 1]);
    assert_eq!(counts(&notifier), [2, 0, 0, 0]);
    for number in [3, 4] {
        let line = example.line();
        let expected = format!(
            "1970-01-01T00:00:00Z airlock.lock.granted workers/node{number} {{\"address\": null"
        );
        assert!(line.starts_with(&expected), "{line}");
    }
}

#[tokio::test]
async fn the_documented_commands_compute_the_signature() {
    let reference = include_str!("../../../docs/reference.md");
    let commands = reference.split("```sh\n").nth(1).unwrap();
    let commands = commands.split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    let receiver = TestReceiver::start().await;
    let notifier = start(NotifySettings {
        secret_path: Some(secret.clone()),
        ..settings(&receiver.url)
    });
    notifier.send(granted(1));
    let request = receiver.wait_for(1).await.remove(0);
    fs::write(folder.path().join("body"), &request.body).unwrap();
    let named = commands.replace("/etc/airlock/notify-secret", secret.to_str().unwrap());
    assert_ne!(named, commands);
    let output = Command::new("sh")
        .args(["-c", &named])
        .current_dir(folder.path())
        .env("webhook_id", request.header("webhook-id"))
        .env("webhook_timestamp", request.header("webhook-timestamp"))
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        format!("v1,{}", printed.trim_end()),
        request.header("webhook-signature")
    );
}
