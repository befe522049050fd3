//! The harness of the scenarios: runs a load next to the baseline and reports one row.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::baseline::{self, Baseline, Shape};
use crate::load::{self, Connection, Load, Until, request};
use crate::report::{Report, Row};
use crate::server::{Server, Usage, usage};
use airlock_test_support::etcd::Etcd;

/// The state that the scenarios share.
pub(crate) struct Bench {
    pub(crate) report: Report,
    pub(crate) runtime: Runtime,
    /// The duration of each case.
    pub(crate) seconds: Duration,
    /// The time over which the CPU use of an idle server is measured.
    pub(crate) idle: Duration,
}

/// The baseline is compared up to this number of clients. With more clients it only measures a queue.
const MAX_BASELINE_CLIENTS: usize = 512;

/// One load and the baseline that it is compared with.
pub(crate) struct Case<'a> {
    pub(crate) scenario: &'a str,
    pub(crate) case: String,
    /// Whether the case is compared with the baseline that writes or with the one that only confirms.
    pub(crate) writes: bool,
    pub(crate) until: Until,
}

// === impl Bench ===

impl Bench {
    pub(crate) fn new(report: Report, seconds: Duration, idle: Duration) -> Self {
        Bench {
            report,
            // One thread: the rest of the CPU is for the processes that are measured.
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            seconds,
            idle,
        }
    }

    pub(crate) fn until(&self) -> Until {
        Until::Elapsed(self.seconds)
    }

    /// Measures the baseline for a quarter of the duration of a case.
    fn baseline(&self, etcd: &Etcd, writes: bool, clients: usize) -> Baseline {
        let shape = if writes { Shape::Write } else { Shape::Confirm };
        let endpoint = &etcd.endpoints()[0];
        let measured = baseline::measure(endpoint, shape, clients, self.seconds / 4);
        self.runtime.block_on(measured)
    }

    /// Sends requests without measuring them.
    pub(crate) fn send(&self, server: SocketAddr, requests: Vec<Vec<u8>>) {
        let until = Until::Responses(requests.len() as u64);
        let connection = Connection {
            server,
            requests,
            hold: Duration::ZERO,
        };
        let load = self.runtime.block_on(load::run(vec![connection], until));
        assert_eq!(load.failed, 0, "{:?}", load.first_failure);
    }

    /// Measures one case and adds its row to the report.
    pub(crate) fn measure(
        &mut self,
        case: Case<'_>,
        connections: Vec<Connection>,
        servers: &[Server],
        etcd: Option<&Etcd>,
    ) {
        let clients = connections.len();
        // Measured right before and right after: the other load of the machine changes from second to second.
        let compared = etcd.filter(|_| clients <= MAX_BASELINE_CLIENTS);
        let earlier = compared.map(|etcd| self.baseline(etcd, case.writes, clients));
        let before = usage(servers, etcd);
        let load = self.runtime.block_on(load::run(connections, case.until));
        let used = usage(servers, etcd).since(before);
        let later = compared.map(|etcd| self.baseline(etcd, case.writes, clients));
        let baseline = earlier.zip(later).map(|(one, other)| one.mean(other));
        if let Some(failure) = &load.first_failure {
            println!("first failure: {failure}");
        }
        self.report.row(row(&case, clients, &load, used, baseline));
    }
}

/// Returns the row of one case.
pub(crate) fn row(
    case: &Case<'_>,
    clients: usize,
    load: &Load,
    used: Usage,
    baseline: Option<Baseline>,
) -> Row {
    let responses = load.responses().max(1) as f64;
    let round = |value: f64| (value * 10_000.0).round() / 10_000.0;
    Row {
        scenario: case.scenario.into(),
        case: case.case.clone(),
        clients,
        requests_per_second: load.per_second().round(),
        p50_us: load.latencies.percentile(50),
        p99_us: load.latencies.percentile(99),
        max_us: load.latencies.percentile(100),
        p50_ratio_to_baseline: baseline.map(|baseline| {
            round(f64::from(load.latencies.percentile(50)) / f64::from(baseline.p50))
        }),
        rate_ratio_to_baseline: baseline
            .map(|baseline| round(load.per_second() / baseline.per_second)),
        responses: load.responses(),
        refused: load.refused,
        failed: load.failed,
        store_calls_per_request: round((used.confirms + used.writes + used.reads) / responses),
        store_writes: used.writes,
        conflicts: used.conflicts,
        server_cpu_us: round(used.server_cpu / responses * 1e6),
        etcd_cpu_us: round(used.etcd_cpu / responses * 1e6),
        load_cpu_us: round(used.load_cpu / responses * 1e6),
    }
}

/// Returns a pre-reboot request.
pub(crate) fn lock(group: &str, id: &str) -> Vec<u8> {
    request("pre-reboot", group, id)
}

/// Returns a steady-state request.
pub(crate) fn unlock(group: &str, id: &str) -> Vec<u8> {
    request("steady-state", group, id)
}

/// Returns one connection for each of `count` nodes; `requests` returns the requests of a node.
pub(crate) fn nodes(
    servers: &[SocketAddr],
    count: usize,
    requests: impl Fn(&str) -> Vec<Vec<u8>>,
) -> Vec<Connection> {
    let connection = |number: usize| Connection {
        server: servers[number % servers.len()],
        requests: requests(&format!("node-{number:05}")),
        hold: Duration::ZERO,
    };
    (0..count).map(connection).collect()
}

/// Returns a pre-reboot request for each of `count` nodes.
pub(crate) fn locks(group: &str, count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|number| lock(group, &format!("node-{number:05}")))
        .collect()
}
