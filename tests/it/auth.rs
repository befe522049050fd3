//! Authentication: passwords, and the users of groups.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::ops::{Deref, DerefMut};
use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use reqwest::blocking::Client as Http;
use tempfile::TempDir;

use airlock_test_support::airlock::{Airlock, LISTEN, refusal_to_start};
use airlock_test_support::client::{self, Client, Response};
use airlock_test_support::eventually;
use airlock_test_support::pki::secret;

/// A server with users. The password of each is the name and `!`.
struct Guarded {
    airlock: Airlock,
    folder: TempDir,
}

impl Guarded {
    fn start(users: &[(&str, u32)], more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("htpasswd");
        let lines = users
            .iter()
            .map(|(user, cost)| line(user, &format!("{user}!"), *cost));
        secret(&path, &lines.collect::<String>());
        let airlock = Airlock::start_with(&config(path.to_str().unwrap(), more), &["-vvv"]);
        Guarded { airlock, folder }
    }

    fn write(&self, text: &str) {
        fs::write(self.folder.path().join("htpasswd"), text).unwrap();
    }

    /// Returns the `base_url` of a node's configuration, with user and password.
    fn base_url(&self, user: &str, password: &str) -> String {
        let with_user = format!("http://{user}:{password}@");
        self.url().replace("http://", &with_user)
    }

    fn node(&self, user: &str, password: &str) -> Client {
        Client::new(self.base_url(user, password))
    }
}

impl Deref for Guarded {
    type Target = Airlock;

    fn deref(&self) -> &Airlock {
        &self.airlock
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut Airlock {
        &mut self.airlock
    }
}

fn config(htpasswd: &str, more: &str) -> String {
    let service = format!("[service]\nhtpasswd_path = {htpasswd:?}");
    LISTEN.replace("[service]", &service) + "[embedded]\npath = \"{folder}/airlock.db\"\n" + more
}

fn line(user: &str, password: &str, cost: u32) -> String {
    format!("{user}:{}\n", bcrypt::hash(password, cost).unwrap())
}

fn parts(answer: &Response) -> (u16, String) {
    (answer.status, answer.kind())
}

#[test]
fn only_the_right_password_in_the_base_url_is_accepted() {
    let airlock = Guarded::start(&[("node", 4)], "");
    assert!(airlock.node("node", "node!").lock("default", "n").granted());
    for (user, password) in [("node", "wrong"), ("nobody", "node!"), ("", "node!")] {
        let refused = airlock.node(user, password).lock("default", "n");
        assert_eq!(
            parts(&refused),
            (401, "unauthorized".into()),
            "{user}:{password}"
        );
        assert_eq!(refused.value(), "wrong user or password");
    }
    let refused = airlock.client().unlock("default", "n");
    assert_eq!(parts(&refused), (401, "unauthorized".into()));
    assert!(refused.value().contains("base_url"), "{}", refused.value());

    let output = Command::new("curl")
        .args(["--silent", "--include", "--max-time", "60", "--data", "x"])
        .arg(format!("{}/v1/pre-reboot", airlock.url()))
        .output()
        .expect("curl cannot be started; `make setup` installs what is missing");
    let head = String::from_utf8(output.stdout).unwrap().to_lowercase();
    assert!(
        head.contains("\r\nwww-authenticate: basic realm=\"airlock\""),
        "{head}"
    );
    // The status listener needs no password.
    assert_eq!(airlock.status("/healthz").0, 200);
}

#[test]
fn passwords_that_bcrypt_does_not_tell_apart_are_refused() {
    let longest = "x".repeat(72);
    let [nul, long] = ["nul\0", &format!("{longest}x")];
    let lines = [
        ("node", longest.as_str()),
        ("empty", ""),
        ("nul", nul),
        ("long", long),
    ];
    let airlock = Guarded::start(&[("placeholder", 4)], "");
    let text: String = lines
        .iter()
        .map(|(user, password)| line(user, password, 4))
        .collect();
    airlock.write(&text);
    let status = |user: &str, password: &str| {
        let node = Http::new().post(format!("{}/v1/steady-state", airlock.url()));
        client::send(node.basic_auth(user, Some(password)))
    };
    // 400: the password is accepted, and the header of the protocol is missing.
    eventually("the passwords to be loaded", || {
        (status("node", &longest).status == 400).then_some(())
    });
    for (user, password, reason) in [
        ("empty", "", "the password is empty"),
        ("nul", nul, "the password contains a NUL"),
        ("long", long, "the password is longer than 72 bytes; bcrypt"),
        ("node", long, "the password is longer than 72 bytes; bcrypt"),
        (
            "nobody",
            long,
            "the password is longer than 72 bytes; bcrypt",
        ),
    ] {
        let refused = status(user, password);
        assert_eq!(parts(&refused), (401, "unauthorized".into()), "{user}");
        assert!(refused.value().starts_with(reason), "{}", refused.value());
    }
}

#[test]
fn a_byte_order_mark_hides_no_user_and_a_nul_is_an_error_of_its_line() {
    let mut airlock = Guarded::start(&[("placeholder", 4)], "");
    airlock.write(&format!("\u{feff}{}", line("node", "node!", 4)));
    eventually("the user of the first line to be loaded", || {
        let reply = airlock.node("node", "node!").unlock("default", "n");
        reply.granted().then_some(())
    });
    airlock.write(&format!("# nodes\nno\0de{}", line("", "node!", 4)));
    airlock.wait_for_log("htpasswd:2: the line contains a NUL; save the file as UTF-8 text");
    let output = airlock.command(&["check-config"]);
    let problems = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(78), "{problems}");
    assert!(
        problems.contains("htpasswd:2: the line contains a NUL"),
        "{problems}"
    );
}

#[test]
fn an_unauthenticated_client_learns_nothing_about_headers_bodies_and_groups() {
    let airlock = Guarded::start(&[("node", 4)], "");
    let send = |url: String, header: &str, body: &str| {
        let request = Http::new().post(format!("{url}/v1/pre-reboot"));
        parts(&client::send(
            request
                .header("fleet-lock-protocol", header)
                .body(body.to_owned()),
        ))
    };
    for (header, body, kind) in [
        ("false", "", "invalid_client_identity"),
        ("true", "{", "invalid_client_identity"),
        ("true", r#"{"id":"n","group":"nope"}"#, "unknown_group"),
    ] {
        assert_eq!(
            send(airlock.url(), header, body),
            (401, "unauthorized".into())
        );
        let known = send(airlock.base_url("node", "node!"), header, body);
        assert_eq!(known, (400, kind.into()), "{body}");
    }
}

#[test]
fn a_group_with_users_is_locked_and_unlocked_by_these_users_only() {
    let airlock = Guarded::start(
        &[("node", 4), ("db", 4)],
        "[lock]\ndefault_slots = 9\n\
         [[lock.groups]]\nname = \"databases\"\nusers = [\"db\", \"typo\"]\n",
    );
    let (node, db) = (airlock.node("node", "node!"), airlock.node("db", "db!"));
    assert!(node.lock("default", "n").granted() && db.lock("default", "d").granted());
    assert!(db.lock("databases", "d").granted());
    for refused in [node.lock("databases", "d"), node.unlock("databases", "d")] {
        assert_eq!(parts(&refused), (403, "forbidden".into()));
        assert_eq!(
            refused.value(),
            r#"user "node" may not lock group "databases""#
        );
    }
    let slots = String::from_utf8(airlock.command(&["ex", "get", "slots"]).stdout).unwrap();
    assert!(
        slots.contains("group: databases\n semaphore slots: 9\n lock owners:\n - d\n"),
        "{slots}"
    );
    let warning =
        "the htpasswd file does not contain a user of this group\" group=databases user=typo";
    assert!(airlock.log().contains(warning), "{}", airlock.log());
}

#[test]
fn a_changed_password_file_is_loaded_and_a_bad_one_changes_nothing() {
    let mut airlock = Guarded::start(&[("node", 4), ("gone", 4)], "");
    let status =
        |user: &str, password: &str| airlock.node(user, password).unlock("default", "n").status;
    assert_eq!(
        (status("node", "node!"), status("gone", "gone!")),
        (200, 200)
    );
    airlock.write(&line("node", "new", 4));
    eventually("the new password to be taken", || {
        (status("node", "new") == 200).then_some(())
    });
    assert_eq!(
        (status("node", "node!"), status("gone", "gone!")),
        (401, 401)
    );

    airlock.write("node:$apr1$abc$SECRET\n");
    airlock.wait_for_log("htpasswd:1: the password is not hashed with bcrypt");
    eventually("the failure to be counted", || {
        (airlock.metric("airlock_htpasswd_reload_failures_total")? >= 1.0).then_some(())
    });
    assert_eq!(
        airlock.node("node", "new").unlock("default", "n").status,
        200
    );
    assert!(!airlock.log().contains("SECRET"));
}

#[test]
fn a_group_removed_by_a_reload_is_open_to_no_client() {
    let mut airlock = Guarded::start(
        &[("node", 4)],
        "[[lock.groups]]\nname = \"databases\"\nusers = [\"db\"]\n",
    );
    let body = r#"{"client_params":{"id":"n","group":"databases"}}"#;
    let address = airlock.url().replace("http://", "");
    let mut connection = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /v1/pre-reboot HTTP/1.1\r\nhost: a\r\nfleet-lock-protocol: true\r\nconnection: close\r\n\
         authorization: Basic {}\r\ncontent-length: {}\r\n\r\n",
        BASE64_STANDARD.encode("node:node!"),
        body.len()
    );
    connection.write_all(head.as_bytes()).unwrap();
    airlock.wait_for_log("got pre-reboot request");
    let path = airlock.folder.path().join("htpasswd");
    airlock.reload_with(&config(path.to_str().unwrap(), ""));
    airlock.wait_for_log("configuration reloaded");
    connection.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[test]
fn sighup_changes_the_users_of_a_group_and_names_settings_that_need_a_restart() {
    let mut airlock = Guarded::start(&[("node", 4)], "");
    let path = airlock.folder.path().join("htpasswd");
    assert!(airlock.node("node", "node!").lock("default", "n").granted());
    let config = config(
        path.to_str().unwrap(),
        "[lock]\ndefault_users = [\"other\"]\n",
    );
    airlock.reload_with(&config);
    airlock.wait_for_log("users of default");
    let refused = airlock.node("node", "node!").unlock("default", "n");
    assert_eq!(parts(&refused), (403, "forbidden".into()));
    // Passwords cannot be disabled while the server runs: it logs a warning and still requires them.
    airlock.reload("[embedded]\npath = \"{folder}/airlock.db\"\n");
    airlock.wait_for_log("[service] has changed; restart the server to apply the change");
    assert_eq!(airlock.client().unlock("default", "n").status, 401);
}

#[test]
fn secrets_are_in_no_log_no_metric_and_no_process_list() {
    let mut airlock = Guarded::start(&[("node", 4)], "");
    let hash = fs::read_to_string(airlock.folder.path().join("htpasswd")).unwrap();
    assert!(airlock.node("node", "node!").lock("default", "n").granted());
    assert_eq!(
        airlock
            .node("node", "mistyped-secret")
            .lock("default", "n")
            .status,
        401
    );
    assert_eq!(
        airlock
            .node("mistyped-secret", "")
            .lock("default", "n")
            .status,
        401
    );
    airlock.write("node:mistyped-secret\n");
    airlock.wait_for_log("is not hashed with bcrypt");
    let id = airlock.process().id();
    let (_, metrics) = airlock.status("/metrics");
    let process = |what: &str| fs::read_to_string(format!("/proc/{id}/{what}")).unwrap();
    let places = [
        airlock.log(),
        metrics,
        process("cmdline"),
        process("environ"),
    ];
    // `node:node!` and `node:mistyped-secret` as encoded in a request head.
    let heads = ["bm9kZTpub2RlIQ", "bm9kZTptaXN0eXBlZC1zZWNyZXQ"];
    for secret in ["node!", "mistyped-secret", hash.trim(), &hash.trim()[5..]]
        .iter()
        .chain(&heads)
    {
        for place in &places {
            assert!(!place.contains(secret), "{secret}: {place}");
        }
    }
}

#[test]
fn plain_text_passwords_and_unusable_files_are_reported_at_startup() {
    let airlock = Guarded::start(&[("node", 4)], "");
    assert!(
        airlock
            .log()
            .contains("clients send their passwords in plain text"),
        "{}",
        airlock.log()
    );

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let refused = |text: Option<&str>| {
        if let Some(text) = text {
            fs::write(&path, text).unwrap();
        }
        let error = refusal_to_start(&config(path.to_str().unwrap(), ""));
        assert!(
            error.contains("config.toml:3, service.htpasswd_path)"),
            "{error}"
        );
        error
    };
    assert!(refused(None).contains("users: cannot be read: No such file or directory"));
    assert!(refused(Some("# nobody\n")).contains("contains no user; add one with `htpasswd -B"));
    let error = refused(Some("# nodes\nnode:{SHA}abcdefgh=\n"));
    assert!(
        error.contains("users:2: the password is not hashed with bcrypt"),
        "{error}"
    );
    assert!(!error.contains("abcdefgh"), "{error}");
}
