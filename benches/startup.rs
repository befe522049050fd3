//! The cost of a server that has little to do: memory, startup time and idle CPU.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::{Bench, lock, nodes};
use crate::load::{self, request};
use crate::server::Server;
use airlock_test_support::airlock::LISTEN;
use airlock_test_support::etcd::Etcd;
use airlock_test_support::hostile::{Attack, Hostile, client_config};
use airlock_test_support::pki::Ca;
use airlock_test_support::process::{Process, cpu_seconds};
use airlock_test_support::{eventually, free_port};

/// Measures resident memory: idle, under 1,000 busy connections, and after them; with clients that send slowly; and
/// with hostile clients.
pub(crate) fn memory(bench: &mut Bench) {
    let etcd = Etcd::start();
    let server = Server::on_etcd(&etcd, "[lock]\ndefault_slots = 1\n");
    let address = [server.address()];
    bench.send(address[0], vec![lock("default", "a")]);
    report_memory(bench, "idle", server.memory().0);
    let connections = nodes(&address, 1000, |id| vec![lock("default", id)]);
    bench
        .runtime
        .block_on(load::run(connections, bench.until()));
    report_memory(bench, "most, under 1,000 connections", server.memory().1);
    report_memory(bench, "after them", server.memory().0);
    slow_clients(bench, &Server::on_etcd(&etcd, ""));
    for (attack, case) in [
        (Attack::Echo, "40 hostile connections, long groups"),
        (Attack::SlowBodies, "40 hostile connections, slow bodies"),
        (Attack::EndlessHead, "40 hostile connections, endless heads"),
    ] {
        hostile_clients(bench, &etcd, attack, case);
    }
    let binary = fs::metadata(airlock_test_support::airlock::binary()).unwrap();
    report_memory(bench, "size of the binary", binary.len() as f64 / 1e6);
}

fn report_memory(bench: &mut Bench, case: &str, megabytes: f64) {
    bench.report.fact("memory", case, megabytes, "MB");
}

/// Measures 5,000 clients, each of which sends a head byte by byte.
fn slow_clients(bench: &mut Bench, server: &Server) {
    const CLIENTS: usize = 5000;
    airlock_test_support::raise_open_files(CLIENTS as u64 + 500);
    let mut slow: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| TcpStream::connect(server.address()).unwrap())
        .collect();
    for byte in b"POST /v1/pre-reboot HTTP/1.1\r\nx" {
        for stream in &mut slow {
            stream.write_all(&[*byte]).unwrap();
        }
    }
    let name = r#"airlock_connections{listener="service"}"#;
    eventually("all clients to be connected", || {
        (server.airlock.metric(name) == Some(CLIENTS as f64)).then_some(())
    });
    report_memory(bench, "5,000 slow connections", server.memory().0);
}

/// Measures 40 connections, each of which holds as much memory as the server lets it.
fn hostile_clients(bench: &mut Bench, etcd: &Etcd, attack: Attack, case: &str) {
    let ca = Ca::new("ca");
    let server = Server::on_etcd_with_tls(etcd, "", &ca.issue("server", &["127.0.0.1"]));
    let tls = client_config(&ca.path());
    let open: Vec<Hostile> = (0..40)
        .filter_map(|_| attack.start(0, server.address(), &tls))
        .collect();
    report_memory(bench, case, server.memory().1);
    drop(open);
}

/// Measures the time from the start to the first response, and the CPU use while idle.
pub(crate) fn startup(bench: &mut Bench) {
    let etcd = Etcd::start();
    for (case, endpoint) in [
        (
            "start to the first grant, etcd up",
            etcd.endpoints()[0].clone(),
        ),
        (
            "start to the first answer, etcd down",
            format!("http://127.0.0.1:{}", free_port()),
        ),
    ] {
        let mut times: Vec<f64> = (0..5)
            .map(|_| start(&endpoint, case.contains("up")))
            .collect();
        times.sort_by(f64::total_cmp);
        bench.report.fact("startup", case, times[2], "ms");
    }
    let server = Server::on_etcd(&etcd, "");
    bench.send(server.address(), vec![lock("default", "a")]);
    let before = cpu_seconds(server.id);
    std::thread::sleep(bench.idle);
    let used = cpu_seconds(server.id) - before;
    let percent = used / bench.idle.as_secs_f64() * 100.0;
    let case = format!("processor while idle, over {} s", bench.idle.as_secs());
    bench
        .report
        .fact("startup", &case, percent, "% of one core");
}

/// Returns the milliseconds from the start of the process to its first grant, or to its first response.
fn start(endpoint: &str, grant: bool) -> f64 {
    use std::io::{Read as _, Write as _};
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = folder.path().join("config.toml");
    let listen = LISTEN.replacen("port = 0", &format!("port = {port}"), 1);
    fs::write(
        &config,
        format!("{listen}[etcd3]\nendpoints = [{endpoint:?}]\n"),
    )
    .unwrap();
    let mut command = airlock_test_support::airlock::airlock();
    command.arg("serve").arg("--config").arg(&config);
    let began = Instant::now();
    let _process = Process::start(command, &folder.path().join("log"));
    // The response to an unknown path does not depend on etcd.
    let (path, expected) = if grant {
        ("pre-reboot", "HTTP/1.1 200")
    } else {
        ("none", "HTTP/1.1 404")
    };
    loop {
        if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) {
            stream.write_all(&request(path, "default", "a")).unwrap();
            let mut response = [0; 1024];
            let read = stream.read(&mut response).unwrap();
            let response = String::from_utf8_lossy(&response[..read]);
            assert!(response.starts_with(expected), "{response}");
            return began.elapsed().as_secs_f64() * 1e3;
        }
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "the server does not start"
        );
        std::thread::sleep(Duration::from_micros(200));
    }
}
