//! Gates with a real web server and a real Prometheus, asked by the commands, and by a server for display.

mod granting;
mod web;

use std::fs;

use airlock_test_support::airlock::{Airlock, airlock};
use airlock_test_support::eventually;
use airlock_test_support::pki::{Ca, secret};
use airlock_test_support::prometheus::Prometheus;
use serde_json::Value;

use crate::check_config::{Config, EMBEDDED};

/// Returns a configuration with gates, each of which has a name and the rest of its keys.
fn config(gates: &[(&str, String)]) -> Config {
    let gates = gates.iter().map(|(name, keys)| gate(name, keys));
    let gates: String = gates.collect();
    Config::new(&format!("[service]\ntls = false\n{EMBEDDED}{gates}"))
}

fn gate(name: &str, keys: &str) -> String {
    format!("[[lock.gates]]\nname = \"{name}\"\n{keys}\n")
}

/// Asks the gates with `check-config --online`, which exits with `code`, and expects the start of the line of each gate,
/// without its time.
#[track_caller]
fn assert_gates(config: &Config, code: i32, expected: &[&str]) -> String {
    let text = config.check(code, &["--online"]);
    let lines: Vec<String> = text
        .lines()
        .filter(|line| line.contains(": gate "))
        .map(|line| {
            let (start, rest) = line.split_once(" after ").unwrap();
            let (milliseconds, reason) = rest.split_once(" ms").unwrap();
            assert!(milliseconds.parse::<u64>().is_ok(), "{line}");
            format!("{start}{reason}")
        })
        .collect();
    assert_eq!(lines.len(), expected.len(), "{text}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{expected}\n{line}");
    }
    text
}

#[test]
fn a_web_server_opens_with_2xx_and_anything_else_is_closed_with_its_reason() {
    let web = web::start();
    let http = |path: &str| format!("http = \"http://{web}/{path}\"");
    let config = config(&[
        ("open", http("open?x=y")),
        ("slow", http("slow")),
        ("largest", http("largest")),
        ("closed", http("closed")),
        ("page", http("page")),
        ("redirect", http("redirect")),
        ("large", http("large")),
        ("short", http("short")),
        ("hang", http("hang") + "\ntimeout_ms = 100"),
        ("gone", "http = \"http://127.0.0.1:1/\"".into()),
    ]);
    let text = assert_gates(
        &config,
        69,
        &[
            "ok: gate open: open",
            "ok: gate slow: open",
            "ok: gate largest: open",
            r#"ok: gate closed: closed: the response is 503 Service Unavailable: "replica lag is \x1b[31m120 s""#,
            "ok: gate page: closed: the response is 500 Internal Server Error",
            "error: gate redirect: failed: the response is 302 Found; redirects are not followed",
            "error: gate large: failed: the response has more than 1048576 bytes",
            "error: gate short: failed: the response ends too early",
            "error: gate hang: failed: no answer within 100 ms; ",
            "error: gate gone: failed: cannot connect: tcp connect error: Connection refused",
        ],
    );
    assert!(
        text.ends_with("gates: 3 open, 2 closed, 5 failed\n"),
        "{text}"
    );
    assert!(
        text.contains("  grants them only while gates open, slow, "),
        "{text}"
    );
    let line = "counts gate hang as open if http://127.0.0.1:";
    assert!(text.contains(line), "{text}");
}

#[test]
fn get_gates_names_the_groups_and_where_it_has_asked() {
    let web = web::start();
    let text = format!(
        "[service]\ntls = false\n{EMBEDDED}{}[[lock.groups]]\nname = \"free\"\ngates = []\n\
         [[lock.groups]]\nname = \"web\"\n[[lock.groups.gates]]\nname = \"lag\"\nhttp = \"http://{web}/closed\"\n",
        gate("up", &format!("http = \"http://{web}/open\"")),
    );
    let config = Config::new(&text);
    let run = |arguments: &[&str], code| {
        let mut command = airlock();
        command
            .args(["get", "gates", "-c", &config.path()])
            .args(arguments);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = run(&[], 0);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("Asked from "), "{text}");
    for (line, words) in [
        (2, "GATE STATE TIME GROUPS"),
        (3, "up open ms default"),
        (4, "lag closed ms web"),
    ] {
        let found = lines[line].split_whitespace();
        let found: Vec<&str> = found.filter(|word| word.parse::<u64>().is_err()).collect();
        assert_eq!(found.join(" "), words, "{text}");
    }
    assert!(lines[6].starts_with("lag: the response is 503"), "{text}");
    let json: Value = serde_json::from_str(&run(&["--json"], 0)).unwrap();
    assert!(json["host"].is_string());
    assert_eq!(json["gates"][0]["groups"], serde_json::json!(["default"]));
    assert_eq!(
        (&json["gates"][0]["state"], &json["gates"][0]["reason"]),
        (&"open".into(), &Value::Null)
    );
    assert_eq!(json["gates"][1]["state"], "closed");
    let one = run(&["lag"], 0);
    assert!(one.contains("\nlag ") && !one.contains("\nup "), "{one}");
    let unknown = airlock()
        .args(["get", "gates", "lug", "-c", &config.path()])
        .output()
        .unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    let text = String::from_utf8(unknown.stderr).unwrap();
    assert!(
        text.starts_with("error: unknown gate \"lug\": it is not in ")
            && text.ends_with("\nhint: configured gates: lag, up\n"),
        "{text}"
    );
    let failing = fs::read_to_string(config.path())
        .unwrap()
        .replace("/closed", "/redirect");
    fs::write(config.path(), failing).unwrap();
    assert!(run(&[], 69).contains("failed"));
    fs::write(
        config.path(),
        "[service]\ntls = false\n[embedded]\npath = \"/x\"\n",
    )
    .unwrap();
    assert_eq!(
        run(&[], 0),
        format!("no gates are configured in {}\n", config.path())
    );
}

#[test]
fn certificates_and_credentials_are_those_of_the_files() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let tls = web::start_tls(&ca, &ca.issue("server", &["localhost"]));
    let (web, client) = (web::start(), ca.issue("client", &["client"]));
    let https = format!("http = \"https://localhost:{}/open\"\n", tls.port());
    let trust = |ca: &Ca| format!("ca_cert_path = {:?}\n", ca.path());
    let pair = format!(
        "client_cert_path = {:?}\nclient_key_path = {:?}\n",
        client.cert, client.key
    );
    let basic = "username = \"me\"\npassword_path = \"{folder}/password\"\n";
    let config = config(&[
        ("tls", https.clone() + &trust(&ca) + &pair),
        ("anonymous", https.clone() + &trust(&ca)),
        ("wrong-ca", https.clone() + &trust(&other) + &pair),
        ("system-cas", https),
        ("basic", format!("http = \"http://{web}/basic\"\n{basic}")),
        (
            "bearer",
            format!("http = \"http://{web}/bearer\"\nbearer_token_path = \"{{folder}}/token\""),
        ),
    ]);
    let file = |name: &str| config.folder.path().join(name);
    secret(&file("password"), "wrong\n");
    secret(&file("token"), "token\n");
    let remedy = "set ca_cert_path of the gate";
    let mut expected = [
        "ok: gate tls: open",
        "error: gate anonymous: failed: no response",
        "error: gate wrong-ca: failed: cannot connect: invalid peer certificate",
        "error: gate system-cas: failed: cannot connect: invalid peer certificate",
        "error: gate basic: failed: the response is 401 Unauthorized; check the token or the password",
        "ok: gate bearer: open",
    ];
    let text = assert_gates(&config, 69, &expected);
    assert_eq!(text.matches(remedy).count(), 2, "{text}");
    // Each time, the files are read again.
    secret(&file("password"), "secret\n");
    secret(&file("token"), "another\n");
    expected[4] = "ok: gate basic: open";
    expected[5] = "error: gate bearer: failed: the response is 401 Unauthorized";
    assert_gates(&config, 69, &expected);
    // Those that cannot be used are errors before anything is asked.
    secret(&file("token"), "two\nlines\n");
    fs::remove_file(file("password")).unwrap();
    fs::write(ca.path(), "no CA").unwrap();
    config.assert_errors(&[
        (
            ", lock.gates[0].ca_cert_path",
            "contains no PEM certificate",
        ),
        (
            ", lock.gates[1].ca_cert_path",
            "contains no PEM certificate",
        ),
        (
            ", lock.gates[4].password_path",
            "/password: cannot be read: No such file",
        ),
        (
            ", lock.gates[5].bearer_token_path",
            "write the token alone into it, in one line",
        ),
    ]);
}

#[test]
fn an_empty_result_of_a_real_prometheus_opens() {
    let web = web::start();
    let prometheus = Prometheus::start(&[web.to_string()]);
    let url = prometheus.url();
    let query =
        |query: &str| format!("prometheus = \"{url}\"\nquery = '{query}'\ntimeout_ms = 4000");
    let config = config(&[
        ("quiet", query("firing == 0")),
        ("firing", query("firing > 0")),
        ("many", query("sum by (n) (many)")),
        ("too-many", query("many")),
        ("scalar", query("scalar(firing)")),
        ("matrix", query("firing[5m]")),
        ("syntax", query("firing{")),
        ("path", query("firing").replace("\"\n", "/x\"\n")),
        (
            "no-prometheus",
            format!("prometheus = \"http://{web}\"\nquery = \"up\""),
        ),
    ]);
    let instance = format!("instance=\"{web}\", job=\"airlock\", site=\"here\"");
    let text = assert_gates(
        &config,
        69,
        &[
            "ok: gate quiet: open",
            &format!("ok: gate firing: closed: the query has 1 series: firing{{{instance}}}"),
            "ok: gate many: closed: the query has 10000 series: {n=\"",
            "error: gate too-many: failed: the response has more than 1048576 bytes; aggregate the query",
            "error: gate scalar: failed: the query has a result of type \"scalar\", which is no vector",
            "error: gate matrix: failed: the query has a result of type \"matrix\", which is no vector",
            "error: gate syntax: failed: Prometheus reports: invalid parameter \"query\"",
            "error: gate path: failed: the response is 404 Not Found",
            "error: gate no-prometheus: failed: the response is 404 Not Found: \"404 page not found\"",
        ],
    );
    assert!(
        text.contains("has no result for firing == 0; grants one lock for each answer"),
        "{text}"
    );
}

#[test]
fn a_server_asks_for_display_and_reloads_files_and_gates() {
    let web = web::start();
    let mut airlock = Airlock::embedded("");
    let (open, failures) = (
        "airlock_gate_open{gate=\"db\"}",
        "airlock_gate_failures_total{gate=\"db\"}",
    );
    assert_eq!(airlock.metric(open), None);
    assert_eq!(
        airlock.metric("airlock_tls_reload_failures_total{target=\"gates\"}"),
        None
    );
    let file = airlock.folder().join("token");
    secret(&file, "wrong");
    let keys = format!("http = \"http://{web}/bearer\"\nbearer_token_path = \"{{folder}}/token\"");
    airlock.reload(&format!("{EMBEDDED}{}", gate("db", &keys)));
    airlock.wait_for_log("changes=\"gates of default\"");
    airlock.wait_for_log(
        "the gate cannot be asked, and counts as closed\" gate=db reason=\"the response is 401",
    );
    assert_eq!(
        (airlock.metric(open), airlock.metric(failures)),
        (Some(0.0), Some(1.0))
    );
    // A change of the file has the gate asked at once.
    secret(&file, "token");
    eventually("the gate to open", || {
        (airlock.metric(open) == Some(1.0)).then_some(())
    });
    assert_eq!(airlock.metric(failures), Some(1.0));
    let (_, text) = airlock.status("/metrics");
    assert!(
        text.contains("airlock_gate_duration_seconds_count{gate=\"db\"} "),
        "{text}"
    );
    fs::remove_file(&file).unwrap();
    airlock.wait_for_log(
        "msg=\"files cannot be reloaded; their previous content stays in use\" what=gates",
    );
    assert_eq!(
        airlock.metric("airlock_tls_reload_failures_total{target=\"gates\"}"),
        Some(1.0)
    );
    airlock.reload(EMBEDDED);
    eventually("the gate to disappear", || {
        airlock.metric(open).is_none().then_some(())
    });
}
