//! The cost of nodes that wait for a lock.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::ops::Range;
use std::thread;

use airlock_test_support::airlock::{Airlock, LISTEN};
use airlock_test_support::process::cpu_seconds;

const CONNECTIONS: usize = 8;

/// Sends a pre-reboot request for each id, and returns the CPU seconds that the server uses for one of them.
fn refuse(airlock: &mut Airlock, ids: Range<usize>) -> f64 {
    let (url, server) = (airlock.url(), airlock.process().id());
    let address = url.trim_start_matches("http://");
    let count = ids.len();
    let before = cpu_seconds(server);
    thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let ids = ids.clone().skip(connection).step_by(CONNECTIONS);
            scope.spawn(move || {
                let mut connection = BufReader::new(TcpStream::connect(address).unwrap());
                for id in ids {
                    assert_eq!(lock(&mut connection, id), 500);
                }
            });
        }
    });
    (cpu_seconds(server) - before) / count as f64
}

/// Sends a pre-reboot request and returns the status of the response.
fn lock(connection: &mut BufReader<TcpStream>, id: usize) -> u16 {
    let body = format!(r#"{{"client_params":{{"id":"node-{id}","group":"default"}}}}"#);
    let head = format!(
        "POST /v1/pre-reboot HTTP/1.1\r\nhost: a\r\nfleet-lock-protocol: true\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let request = head + &body;
    connection.get_mut().write_all(request.as_bytes()).unwrap();
    let (mut status, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).unwrap();
        let line = line.trim_end().to_lowercase();
        if let Some(line) = line.strip_prefix("http/1.1 ") {
            status = line.split(' ').next().unwrap().parse().ok();
        } else if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        } else if line.is_empty() {
            break;
        }
    }
    connection.read_exact(&mut vec![0; length]).unwrap();
    status.unwrap()
}

#[test]
fn invariant_8_with_many_groups_fewer_nodes_are_known_for_each() {
    let mut config = format!("{LISTEN}[embedded]\npath = \"{{folder}}/airlock.db\"\n");
    config.push_str("[[lock.groups]]\nname = \"default\"\nslots = 1\n");
    for group in 1..1000 {
        config.push_str(&format!(
            "[[lock.groups]]\nname = \"g{group}\"\nslots = 1\n"
        ));
    }
    let mut airlock = Airlock::start_with(&config, &["-v"]);
    assert!(airlock.client().lock("default", "the-holder").granted());
    refuse(&mut airlock, 0..300);
    let waiting = airlock.metric("airlock_waiting_nodes{group=\"default\"}");
    assert_eq!(waiting, Some(100.0));
}

#[test]
fn a_refusal_costs_the_same_however_many_nodes_wait() {
    let config = "[embedded]\npath = \"{folder}/airlock.db\"\n[lock]\ndefault_slots = 1\n";
    let mut airlock = Airlock::start_with(&format!("{LISTEN}{config}"), &["-v"]);
    assert!(airlock.client().lock("default", "the-holder").granted());
    let few = refuse(&mut airlock, 0..3000);
    // The server lists 10,000 of them.
    refuse(&mut airlock, 3000..12_000);
    let many = refuse(&mut airlock, 12_000..15_000);
    let waiting = airlock.metric("airlock_waiting_nodes{group=\"default\"}");
    assert_eq!(waiting, Some(10_000.0));
    let page = reqwest::blocking::get(airlock.status_url()).unwrap();
    let page = page.text().unwrap();
    for expected in ["at least 10000 nodes waiting", "Waiting (at least 10000)"] {
        assert!(page.contains(expected), "{page}");
    }
    println!("CPU time of a refusal: {few:.6} s with few waiting nodes, {many:.6} s with many");
    assert!(many < few * 2.0, "{many} s instead of {few} s");
}
