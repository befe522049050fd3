//! The servers under load and the resources that they use.

use std::net::SocketAddr;

use airlock_test_support::airlock::{Airlock, LISTEN};
use airlock_test_support::etcd::Etcd;
use airlock_test_support::pki::Pair;
use airlock_test_support::process::{cpu_seconds, peak_resident_bytes, resident_bytes};

/// A real server with the lowest log level of a production configuration.
pub(crate) struct Server {
    pub(crate) airlock: Airlock,
    pub(crate) id: u32,
}

/// The CPU seconds of the processes and the store calls of the servers up to now.
#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) server_cpu: f64,
    pub(crate) etcd_cpu: f64,
    pub(crate) load_cpu: f64,
    pub(crate) confirms: f64,
    pub(crate) writes: f64,
    pub(crate) reads: f64,
    pub(crate) conflicts: f64,
}

// === impl Server ===

impl Server {
    /// Starts a server that keeps its locks in etcd.
    pub(crate) fn on_etcd(etcd: &Etcd, lock: &str) -> Self {
        Server::start(&format!(
            "[etcd3]\nendpoints = {:?}\n{lock}",
            etcd.endpoints()
        ))
    }

    /// Starts a server with an embedded store.
    pub(crate) fn embedded(lock: &str) -> Self {
        Server::start(&format!(
            "[embedded]\npath = \"{{folder}}/airlock.db\"\n{lock}"
        ))
    }

    /// Starts a server with a TLS listener that keeps its locks in etcd.
    pub(crate) fn on_etcd_with_tls(etcd: &Etcd, lock: &str, pair: &Pair) -> Self {
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
        let limits = "[limits]\nmax_connections_per_peer = 16384\n";
        let config = format!("{listen}{config}\n{limits}");
        let mut airlock = Airlock::start_with(&config, &["-v"]);
        let id = airlock.process().id();
        Server { airlock, id }
    }

    /// Returns the address of the main listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.airlock
            .url()
            .trim_start_matches("http://")
            .parse()
            .unwrap()
    }

    /// Returns the current and the maximal resident memory in MB.
    pub(crate) fn memory(&self) -> (f64, f64) {
        let megabytes = |bytes: u64| (bytes >> 10) as f64 / 1000.0;
        let (now, peak) = (resident_bytes(self.id), peak_resident_bytes(self.id));
        (megabytes(now), megabytes(peak))
    }
}

/// Returns what all `servers` and their etcd have used up to now.
pub(crate) fn usage(servers: &[Server], etcd: Option<&Etcd>) -> Usage {
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
        usage.conflicts += sum("airlock_store_conflicts_total");
    }
    for member in etcd.into_iter().flat_map(|etcd| &etcd.members) {
        usage.etcd_cpu += cpu_seconds(member.process().id());
    }
    usage
}

// === impl Usage ===

impl Usage {
    /// Returns the difference to an earlier measurement.
    pub(crate) fn since(self, before: Usage) -> Usage {
        Usage {
            server_cpu: self.server_cpu - before.server_cpu,
            etcd_cpu: self.etcd_cpu - before.etcd_cpu,
            load_cpu: self.load_cpu - before.load_cpu,
            confirms: self.confirms - before.confirms,
            writes: self.writes - before.writes,
            reads: self.reads - before.reads,
            conflicts: self.conflicts - before.conflicts,
        }
    }
}
