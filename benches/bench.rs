//! What the scenarios have in common: connections that ask, and a row of what came of it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::bare::{self, Bare, Shape};
use crate::load::{self, Connection, Load, Until, request};
use crate::report::{Report, Row};
use crate::server::{Server, Usage, usage};
use airlock_test_support::etcd::Etcd;

/// What the scenarios share.
pub struct Bench {
    pub report: Report,
    pub runtime: Runtime,
    pub seconds: Duration,
    pub idle: Duration,
}

/// With more clients the bare transaction measures only a queue.
const MOST_BARE: usize = 512;

/// One load, and what it is compared with.
pub struct Case<'a> {
    pub scenario: &'a str,
    pub case: String,
    /// Whether to compare with the bare transaction that writes, or the one that does not.
    pub writes: bool,
    pub until: Until,
}

// === impl Bench ===

impl Bench {
    pub fn new(report: Report, seconds: Duration, idle: Duration) -> Self {
        Bench {
            report,
            // One thread: what is left of the processor is for those who are measured.
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            seconds,
            idle,
        }
    }

    pub fn until(&self) -> Until {
        Until::Elapsed(self.seconds)
    }

    /// The bare transaction, for a quarter of the time of a case.
    fn bare(&self, etcd: &Etcd, writes: bool, clients: usize) -> Bare {
        let shape = if writes { Shape::Write } else { Shape::Confirm };
        let endpoint = &etcd.endpoints()[0];
        let measured = bare::measure(endpoint, shape, clients, self.seconds / 4);
        self.runtime.block_on(measured)
    }

    /// Sends without measuring.
    pub fn send(&self, server: SocketAddr, requests: Vec<Vec<u8>>) {
        let answers = Until::Answers(requests.len() as u64);
        let connection = Connection {
            server,
            requests,
            hold: Duration::ZERO,
        };
        let load = self.runtime.block_on(load::run(vec![connection], answers));
        assert_eq!(load.failed, 0, "{:?}", load.first_failure);
    }

    pub fn measure(
        &mut self,
        case: Case<'_>,
        connections: Vec<Connection>,
        servers: &[Server],
        etcd: Option<&Etcd>,
    ) {
        let clients = connections.len();
        // Right before and right after: what else runs on this machine changes from second to second.
        let compared = etcd.filter(|_| clients <= MOST_BARE);
        let earlier = compared.map(|etcd| self.bare(etcd, case.writes, clients));
        let before = usage(servers, etcd);
        let load = self.runtime.block_on(load::run(connections, case.until));
        let used = usage(servers, etcd).since(before);
        let later = compared.map(|etcd| self.bare(etcd, case.writes, clients));
        let bare = earlier.zip(later).map(|(one, other)| one.mean(other));
        if let Some(failure) = &load.first_failure {
            println!("first failure: {failure}");
        }
        self.report.row(row(&case, clients, &load, used, bare));
    }
}

pub fn row(case: &Case<'_>, clients: usize, load: &Load, used: Usage, bare: Option<Bare>) -> Row {
    let answers = load.answers().max(1) as f64;
    let round = |value: f64| (value * 10_000.0).round() / 10_000.0;
    Row {
        scenario: case.scenario.into(),
        case: case.case.clone(),
        clients,
        requests_per_second: load.per_second().round(),
        p50_us: load.percentile(50),
        p99_us: load.percentile(99),
        max_us: load.percentile(100),
        p50_ratio_to_bare: bare
            .map(|bare| round(f64::from(load.percentile(50)) / f64::from(bare.p50))),
        rate_ratio_to_bare: bare.map(|bare| round(load.per_second() / bare.per_second)),
        answers: load.answers(),
        refused: load.refused,
        failed: load.failed,
        store_calls_per_request: round((used.confirms + used.writes + used.reads) / answers),
        store_writes: used.writes,
        lost_comparisons: used.lost,
        server_cpu_us: round(used.server_cpu / answers * 1e6),
        etcd_cpu_us: round(used.etcd_cpu / answers * 1e6),
        load_cpu_us: round(used.load_cpu / answers * 1e6),
    }
}

pub fn lock(group: &str, id: &str) -> Vec<u8> {
    request("pre-reboot", group, id)
}

pub fn unlock(group: &str, id: &str) -> Vec<u8> {
    request("steady-state", group, id)
}

/// One connection a node, each sending what `requests` says for it.
pub fn nodes(
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

pub fn locks(group: &str, count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|number| lock(group, &format!("node-{number:05}")))
        .collect()
}
