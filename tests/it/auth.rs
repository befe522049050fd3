//! Passwords, from outside: who is let in, who may lock what, and what a flood of wrong ones does.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::ops::{Deref, DerefMut};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use reqwest::blocking::Client as Http;
use tempfile::TempDir;

use airlock_test_support::airlock::{Airlock, LISTEN, refusal_to_start};
use airlock_test_support::client::{self, Client, Response};
use airlock_test_support::pki::secret;
use airlock_test_support::{SetOnDrop, eventually};

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

    /// What a node has in its configuration, `base_url` with user and password.
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

fn said(answer: &Response) -> (u16, String) {
    (answer.status, answer.kind())
}

#[test]
fn the_right_password_in_the_base_url_gets_in_and_nothing_else_does() {
    let airlock = Guarded::start(&[("node", 4)], "");
    assert!(airlock.node("node", "node!").lock("default", "n").granted());
    for (user, password) in [
        ("node", "wrong"),
        ("nobody", "node!"),
        ("node", ""),
        ("", "node!"),
    ] {
        let refused = airlock.node(user, password).lock("default", "n");
        assert_eq!(
            said(&refused),
            (401, "unauthorized".into()),
            "{user}:{password}"
        );
        assert_eq!(refused.value(), "wrong user or password");
    }
    let refused = airlock.client().unlock("default", "n");
    assert_eq!(said(&refused), (401, "unauthorized".into()));
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
    // What operators look at has no password.
    assert_eq!(airlock.status("/healthz").0, 200);
}

#[test]
fn a_stranger_learns_nothing_about_headers_bodies_and_groups() {
    let airlock = Guarded::start(&[("node", 4)], "");
    let send = |url: String, header: &str, body: &str| {
        let request = Http::new().post(format!("{url}/v1/pre-reboot"));
        said(&client::send(
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
fn a_group_with_users_is_theirs_alone_to_lock_and_to_unlock() {
    let airlock = Guarded::start(
        &[("node", 4), ("db", 4)],
        "[lock]\ndefault_slots = 9\n\
         [[lock.groups]]\nname = \"databases\"\nusers = [\"db\", \"typo\"]\n",
    );
    let (node, db) = (airlock.node("node", "node!"), airlock.node("db", "db!"));
    assert!(node.lock("default", "n").granted() && db.lock("default", "d").granted());
    assert!(db.lock("databases", "d").granted());
    for refused in [node.lock("databases", "d"), node.unlock("databases", "d")] {
        assert_eq!(said(&refused), (403, "forbidden".into()));
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
        "the group names a user who is not in the htpasswd file\" group=databases user=typo";
    assert!(airlock.log().contains(warning), "{}", airlock.log());
}

#[test]
fn the_file_is_read_again_and_a_bad_one_changes_nothing() {
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
    airlock.wait_for_log("htpasswd:1: its password is not hashed with bcrypt");
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
fn a_group_that_is_removed_meanwhile_opens_to_nobody() {
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
fn sighup_changes_who_may_lock_a_group_and_names_what_needs_a_restart() {
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
    assert_eq!(said(&refused), (403, "forbidden".into()));
    // Passwords cannot be switched off while running: that is said, and they are still asked for.
    airlock.reload("[embedded]\npath = \"{folder}/airlock.db\"\n");
    airlock.wait_for_log("[service] has changed, which takes effect when the server is restarted");
    assert_eq!(airlock.client().unlock("default", "n").status, 401);
}

#[test]
fn a_flood_of_wrong_passwords_keeps_nobody_out_who_has_the_right_one() {
    let mut airlock = Guarded::start(&[("known", 8), ("new", 8)], "");
    let verified = airlock.node("known", "known!");
    assert!(verified.unlock("default", "n").granted());
    let (done, seen) = (AtomicBool::new(false), Mutex::new([0_u32; 2]));
    std::thread::scope(|scope| {
        let _end = SetOnDrop(&done);
        for attacker in 0..48_u8 {
            let (airlock, done, seen) = (&airlock, &done, &seen);
            scope.spawn(move || {
                // 4 addresses with 12 connections each.
                let from = IpAddr::from(Ipv4Addr::new(127, 0, 0, 2 + attacker % 4));
                for number in 0_u64.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let url = airlock.base_url("known", &format!("{attacker}-{number}"));
                    let http = Http::builder().local_address(from);
                    let status = Client::over(url, http).unlock("default", "n").status;
                    let index = [401, 503].iter().position(|known| *known == status);
                    seen.lock().unwrap()[index.unwrap()] += 1;
                }
            });
        }
        eventually("the flood to fill its share of the queue", || {
            seen.lock()
                .unwrap()
                .iter()
                .all(|count| *count > 20)
                .then_some(())
        });
        let new = airlock.node("new", "new!").unlock("default", "n").status;
        let known: Vec<u16> = (0..50)
            .map(|_| verified.unlock("default", "n").status)
            .collect();
        assert_eq!(
            new, 200,
            "one that nobody has verified yet has its place in the queue"
        );
        assert_eq!(known, [200; 50], "one that is verified does not queue");
    });
    let log = airlock.log();
    assert!(
        log.contains("too many passwords wait to be verified"),
        "{log}"
    );
    assert!(airlock.process().exit_status().is_none());
}

#[test]
fn what_is_secret_is_in_no_log_no_metric_and_no_list_of_processes() {
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
    // `node:node!` and `node:mistyped-secret` as they are in a head.
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
fn passwords_in_plain_text_and_files_that_cannot_be_used_are_named_at_the_start() {
    let airlock = Guarded::start(&[("node", 4)], "");
    assert!(
        airlock.log().contains("passwords come in plain text"),
        "{}",
        airlock.log()
    );

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let refused = |text: Option<&str>| {
        if let Some(text) = text {
            fs::write(&path, text).unwrap();
        }
        let said = refusal_to_start(&config(path.to_str().unwrap(), ""));
        assert!(said.contains("(service.htpasswd_path)"), "{said}");
        said
    };
    assert!(refused(None).contains("users: cannot be read: No such file or directory"));
    assert!(refused(Some("# nobody\n")).contains("has no user in it; add one with `htpasswd -B"));
    let said = refused(Some("# nodes\nnode:{SHA}abcdefgh=\n"));
    assert!(
        said.contains("users:2: its password is not hashed with bcrypt"),
        "{said}"
    );
    assert!(!said.contains("abcdefgh"), "{said}");
}
