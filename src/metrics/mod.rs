//! All metrics: one struct, passed in. Labels come from the configuration and from closed enums, never
//! from clients.

mod groups;

use std::time::Duration;

use jiff::Timestamp;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use tokio::runtime::Handle;

use crate::fleetlock::Endpoint;
use crate::live::Live;
use crate::store::{GroupName, StoreError};

/// The registry and everything in it.
pub struct Metrics {
    registry: Registry,
    config_groups: IntGauge,
    config_slots: IntGaugeVec,
    database_slots: GaugeVec,
    database_holders: IntGaugeVec,
    oldest_lock_seconds: GaugeVec,
    pre_reboot_requests: IntCounter,
    steady_state_requests: IntCounter,
    responses: IntCounterVec,
    request_seconds: HistogramVec,
    store_seconds: HistogramVec,
    store_failures: IntCounterVec,
    lost_comparisons: IntCounterVec,
    unknown_outcomes: IntCounterVec,
    batch_size: HistogramVec,
    store_up: Gauge,
    pub certificate_expiry: IntGaugeVec,
    pub tls_reload_failures: IntCounterVec,
    pub htpasswd_reload_failures: IntCounter,
    waiting_nodes: IntGaugeVec,
    window_open: IntGaugeVec,
    paused: IntGaugeVec,
    reloads: IntCounterVec,
    last_reload_good: IntGauge,
    tasks: IntGauge,
    pub connections: IntGaugeVec,
    pub rejected_connections: IntCounterVec,
}

/// The metrics of one group that its task keeps.
#[derive(Clone)]
pub struct GroupMetrics {
    pub lost_comparisons: IntCounter,
    pub unknown_outcomes: IntCounter,
    pub batch_size: Histogram,
}

/// Seconds; a commit takes from half a millisecond to the deadline.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

const BATCH_SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];

// === impl Metrics ===

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// If two metrics have one name, which a test excludes.
    pub fn new() -> Result<Self, prometheus::Error> {
        let r = Registry::new_custom(None, None)?;
        let metrics = Metrics {
            config_groups: register(
                &r,
                IntGauge::new("airlock_config_groups", "Number of configured groups.")?,
            )?,
            config_slots: int_gauges(
                &r,
                "airlock_config_semaphore_slots",
                "Slots of a group in the configuration.",
                &["group"],
            )?,
            database_slots: gauges(
                &r,
                "airlock_database_semaphore_slots",
                "Slots of a group in the database; 0 is a pause.",
                &["group"],
            )?,
            database_holders: int_gauges(
                &r,
                "airlock_database_semaphore_lock_holders",
                "Nodes that hold a slot of a group, in the database.",
                &["group"],
            )?,
            oldest_lock_seconds: gauges(
                &r,
                "airlock_oldest_lock_age_seconds",
                "Age of a group's oldest lock; 0 if none is held or its time is unknown.",
                &["group"],
            )?,
            pre_reboot_requests: register(
                &r,
                IntCounter::new(
                    "airlock_v1_pre_reboot_incoming_requests_total",
                    "Incoming requests to /v1/pre-reboot.",
                )?,
            )?,
            steady_state_requests: register(
                &r,
                IntCounter::new(
                    "airlock_v1_steady_state_incoming_requests_total",
                    "Incoming requests to /v1/steady-state.",
                )?,
            )?,
            responses: counters(
                &r,
                "airlock_responses_total",
                "Answers to nodes. The group is empty where the request named none that is configured.",
                &["endpoint", "group", "outcome"],
            )?,
            request_seconds: histograms(
                &r,
                "airlock_request_duration_seconds",
                "Time from a request's head to its answer.",
                SECONDS,
                &["endpoint"],
            )?,
            store_seconds: histograms(
                &r,
                "airlock_store_duration_seconds",
                "Time that a call to the store took.",
                SECONDS,
                &["call"],
            )?,
            store_failures: counters(
                &r,
                "airlock_store_failures_total",
                "Calls to the store without a result.",
                &["call", "reason"],
            )?,
            lost_comparisons: counters(
                &r,
                "airlock_store_lost_comparisons_total",
                "Commits that another writer was faster than; they are tried again.",
                &["group"],
            )?,
            unknown_outcomes: counters(
                &r,
                "airlock_store_unknown_outcomes_total",
                "Commits of which it is not known whether they happened; it is looked up.",
                &["group"],
            )?,
            batch_size: histograms(
                &r,
                "airlock_batch_requests",
                "Requests that one commit answered.",
                BATCH_SIZES,
                &["group"],
            )?,
            store_up: register(
                &r,
                Gauge::new(
                    "airlock_store_up",
                    "1 if the store answered when it was last asked.",
                )?,
            )?,
            certificate_expiry: int_gauges(
                &r,
                "airlock_tls_certificate_expiry_timestamp_seconds",
                "When the certificate in use expires, in seconds since 1970.",
                &["listener"],
            )?,
            tls_reload_failures: counters(
                &r,
                "airlock_tls_reload_failures_total",
                "Certificates, keys or passwords that had changed and could not be used; etcd3 is the client's side.",
                &["listener"],
            )?,
            htpasswd_reload_failures: register(
                &r,
                IntCounter::new(
                    "airlock_htpasswd_reload_failures_total",
                    "Changed htpasswd files that could not be used.",
                )?,
            )?,
            waiting_nodes: int_gauges(
                &r,
                "airlock_waiting_nodes",
                "Nodes of a group that this server refused in the last 15 minutes and that still want to reboot.",
                &["group"],
            )?,
            window_open: int_gauges(
                &r,
                "airlock_window_open",
                "1 if the reboot windows of a group let nodes in now, or it has none.",
                &["group"],
            )?,
            paused: int_gauges(
                &r,
                "airlock_group_paused",
                "1 if an administrator has paused the group.",
                &["group"],
            )?,
            reloads: counters(
                &r,
                "airlock_config_reloads_total",
                "Reloads of the configuration by SIGHUP.",
                &["result"],
            )?,
            last_reload_good: register(
                &r,
                IntGauge::new(
                    "airlock_config_last_reload_successful",
                    "1 if the file was good when it was last read, at the start or by SIGHUP.",
                )?,
            )?,
            tasks: register(
                &r,
                IntGauge::new(
                    "airlock_tasks",
                    "Tasks that are alive: one a connection, one a group, and some of the server's own.",
                )?,
            )?,
            connections: int_gauges(
                &r,
                "airlock_connections",
                "Open connections.",
                &["listener"],
            )?,
            rejected_connections: counters(
                &r,
                "airlock_rejected_connections_total",
                "Connections closed before a request: too many, or no TLS handshake.",
                &["listener", "reason"],
            )?,
            registry: r,
        };
        let build = int_gauges(
            &metrics.registry,
            "airlock_build_info",
            "1, labelled with the version.",
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        metrics.last_reload_good.set(1);
        for result in ["success", "failure"] {
            metrics.reloads.with_label_values(&[result]).reset();
        }
        #[cfg(target_os = "linux")]
        metrics.registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        Ok(metrics)
    }

    /// The metrics of a group's task. They exist from now on, at zero.
    pub fn group(&self, name: &GroupName) -> GroupMetrics {
        let label = &[name.as_str()];
        GroupMetrics {
            lost_comparisons: self.lost_comparisons.with_label_values(label),
            unknown_outcomes: self.unknown_outcomes.with_label_values(label),
            batch_size: self.batch_size.with_label_values(label),
        }
    }

    /// A request has come in.
    pub fn request(&self, endpoint: Endpoint) {
        match endpoint {
            Endpoint::PreReboot => self.pre_reboot_requests.inc(),
            Endpoint::SteadyState => self.steady_state_requests.inc(),
        }
    }

    /// A request is answered. `group` is a configured one, or empty.
    pub fn response(&self, endpoint: Endpoint, group: &str, outcome: &str, took: Duration) {
        let endpoint = endpoint_label(endpoint);
        self.responses
            .with_label_values(&[endpoint, group, outcome])
            .inc();
        self.request_seconds
            .with_label_values(&[endpoint])
            .observe(took.as_secs_f64());
    }

    /// A call to the store has ended.
    pub fn store_call<T>(&self, call: &str, took: Duration, result: &Result<T, StoreError>) {
        self.store_seconds
            .with_label_values(&[call])
            .observe(took.as_secs_f64());
        let reason = match result {
            Ok(_) => {
                self.store_up.set(1.0);
                return;
            }
            Err(StoreError::Rejected(_)) => "rejected",
            Err(StoreError::Unreachable(_)) => "unreachable",
            Err(StoreError::Unknown(_)) => "unknown",
        };
        self.store_up.set(0.0);
        self.store_failures.with_label_values(&[call, reason]).inc();
    }

    /// The configuration was read again.
    pub fn reloaded(&self, good: bool) {
        self.last_reload_good.set(good.into());
        let result = if good { "success" } else { "failure" };
        self.reloads.with_label_values(&[result]).inc();
    }

    /// The text for Prometheus, with the gauges as the groups are known now.
    pub fn render(&self, live: &Live) -> String {
        self.config_groups
            .set(live.groups.len().try_into().unwrap_or(i64::MAX));
        for group in live.groups.values() {
            self.group_gauges(group, Timestamp::now());
        }
        if let Ok(runtime) = Handle::try_current() {
            let tasks = runtime.metrics().num_alive_tasks();
            self.tasks.set(tasks.try_into().unwrap_or(i64::MAX));
        }
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_else(|error| format!("# {error}\n"))
    }
}

fn endpoint_label(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::PreReboot => "pre_reboot",
        Endpoint::SteadyState => "steady_state",
    }
}

fn register<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn int_gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    register(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
}

fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<GaugeVec, prometheus::Error> {
    register(registry, GaugeVec::new(Opts::new(name, help), labels)?)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
    labels: &[&str],
) -> Result<HistogramVec, prometheus::Error> {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    register(registry, HistogramVec::new(options, labels)?)
}
