//! The servers under load, and what they cost.

use std::fs;
use std::net::SocketAddr;

use airlock_test_support::airlock::{Airlock, LISTEN};
use airlock_test_support::etcd::Etcd;
use airlock_test_support::pki::Pair;

/// As the unit and the image start it.
const ENVIRONMENT: &[(&str, &str)] = &[("MALLOC_ARENA_MAX", "1")];

/// A real server, logging as little as an operator may have it log.
pub struct Server {
    pub airlock: Airlock,
    pub id: u32,
}

/// What a process has used, and what the server has asked of its store so far.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    pub server_cpu: f64,
    pub etcd_cpu: f64,
    pub load_cpu: f64,
    pub confirms: f64,
    pub writes: f64,
    pub reads: f64,
    pub lost: f64,
}

// === impl Server ===

impl Server {
    pub fn on_etcd(etcd: &Etcd, lock: &str) -> Self {
        Server::start(&format!(
            "[etcd3]\nendpoints = {:?}\n{lock}",
            etcd.endpoints()
        ))
    }

    pub fn embedded(lock: &str) -> Self {
        Server::start(&format!(
            "[embedded]\npath = \"{{folder}}/airlock.db\"\n{lock}"
        ))
    }

    pub fn on_etcd_with_tls(etcd: &Etcd, lock: &str, pair: &Pair) -> Self {
        let tls = format!(
            "tls_cert_path = {:?}\ntls_key_path = {:?}",
            pair.cert, pair.key
        );
        let listen = LISTEN.replacen("tls = false", &tls, 1);
        let endpoints = etcd.endpoints();
        Server::start_on(
            &listen,
            &format!("[etcd3]\nendpoints = {endpoints:?}\n{lock}"),
        )
    }

    fn start(config: &str) -> Self {
        Server::start_on(LISTEN, config)
    }

    fn start_on(listen: &str, config: &str) -> Self {
        let limits = "[limits]\nconnections_per_peer = 16384\n";
        let config = format!("{listen}{config}\n{limits}");
        let mut airlock = Airlock::start_with_environment(&config, &["-v"], ENVIRONMENT);
        let id = airlock.process().id();
        Server { airlock, id }
    }

    pub fn address(&self) -> SocketAddr {
        self.airlock
            .url()
            .trim_start_matches("http://")
            .parse()
            .unwrap()
    }

    /// Resident memory in MB, now and at most.
    pub fn memory(&self) -> (f64, f64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap();
        let kb = |name: &str| -> f64 {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        (kb("VmRSS:") / 1000.0, kb("VmHWM:") / 1000.0)
    }
}

/// The sum of what all `servers` and their etcd have used so far.
pub fn usage(servers: &[Server], etcd: Option<&Etcd>) -> Usage {
    let mut usage = Usage {
        load_cpu: cpu_seconds(std::process::id()),
        ..Usage::default()
    };
    for server in servers {
        usage.server_cpu += cpu_seconds(server.id);
        let (_, metrics) = server.airlock.status("/metrics");
        let sum = |prefix: &str| -> f64 {
            let lines = metrics.lines().filter(|line| line.starts_with(prefix));
            lines
                .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
                .sum()
        };
        usage.confirms += sum("airlock_store_duration_seconds_count{call=\"confirm\"");
        usage.writes += sum("airlock_store_duration_seconds_count{call=\"write\"");
        usage.reads += sum("airlock_store_duration_seconds_count{call=\"read\"");
        usage.lost += sum("airlock_store_lost_comparisons_total");
    }
    for member in etcd.into_iter().flat_map(|etcd| &etcd.members) {
        usage.etcd_cpu += cpu_seconds(member.process().id());
    }
    usage
}

/// User and system time of a process; the kernel counts in hundredths of a second.
pub fn cpu_seconds(id: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: f64 = fields[11..13]
        .iter()
        .map(|field| field.parse::<f64>().unwrap())
        .sum();
    ticks / 100.0
}

// === impl Usage ===

impl Usage {
    pub fn since(self, before: Usage) -> Usage {
        Usage {
            server_cpu: self.server_cpu - before.server_cpu,
            etcd_cpu: self.etcd_cpu - before.etcd_cpu,
            load_cpu: self.load_cpu - before.load_cpu,
            confirms: self.confirms - before.confirms,
            writes: self.writes - before.writes,
            reads: self.reads - before.reads,
            lost: self.lost - before.lost,
        }
    }
}
