//! The cost of a server that has little to do: memory, startup time and idle CPU.

use std::fs;
use std::time::{Duration, Instant};

use crate::harness::{Bench, lock, nodes};
use crate::load::{self, request};
use crate::server::Server;
use airlock_test_support::airlock::LISTEN;
use airlock_test_support::etcd::Etcd;
use airlock_test_support::free_port;
use airlock_test_support::process::{Process, cpu_seconds};

/// Measures resident memory: idle, under 1,000 busy connections, and after them.
pub(crate) fn memory(bench: &mut Bench) {
    let etcd = Etcd::start();
    let server = Server::on_etcd(&etcd, "[lock]\ndefault_slots = 1\n");
    let address = [server.address()];
    bench.send(address[0], vec![lock("default", "a")]);
    let report =
        |bench: &mut Bench, case: &str, value| bench.report.fact("memory", case, value, "MB");
    report(bench, "idle", server.memory().0);
    let connections = nodes(&address, 1000, |id| vec![lock("default", id)]);
    bench
        .runtime
        .block_on(load::run(connections, bench.until()));
    report(bench, "most, under 1,000 connections", server.memory().1);
    report(bench, "after them", server.memory().0);
    let binary = fs::metadata(airlock_test_support::airlock::binary()).unwrap();
    report(bench, "size of the binary", binary.len() as f64 / 1e6);
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
