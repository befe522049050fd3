//! The metrics of FleetLock requests.

use std::time::Duration;

use prometheus::{
    HistogramVec, IntCounter, IntCounterVec, Registry, histogram_opts,
    register_histogram_vec_with_registry, register_int_counter_vec_with_registry,
    register_int_counter_with_registry,
};

use super::endpoint::Endpoint;
use crate::store::instrumented::DURATION_BUCKETS;

/// The metric families of the API. The names of the request counters are those of coreos/airlock.
pub(crate) struct ApiMetrics {
    pre_reboot_requests: IntCounter,
    steady_state_requests: IntCounter,
    responses: IntCounterVec,
    duration: HistogramVec,
}

// === impl ApiMetrics ===

impl ApiMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// If a name is registered already.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(ApiMetrics {
            pre_reboot_requests: register_int_counter_with_registry!(
                "airlock_v1_pre_reboot_incoming_requests_total",
                "Incoming requests to /v1/pre-reboot.",
                registry
            )?,
            steady_state_requests: register_int_counter_with_registry!(
                "airlock_v1_steady_state_incoming_requests_total",
                "Incoming requests to /v1/steady-state.",
                registry
            )?,
            responses: register_int_counter_vec_with_registry!(
                "airlock_responses_total",
                "Responses to nodes. The group is empty if the request named no configured group, the endpoint if it had none.",
                &["endpoint", "group", "outcome"],
                registry
            )?,
            duration: register_histogram_vec_with_registry!(
                histogram_opts!(
                    "airlock_request_duration_seconds",
                    "Time from the head of a request to its response.",
                    DURATION_BUCKETS.to_vec()
                ),
                &["endpoint"],
                registry
            )?,
        })
    }

    /// Counts an incoming request.
    pub(super) fn request(&self, endpoint: Endpoint) {
        match endpoint {
            Endpoint::PreReboot => self.pre_reboot_requests.inc(),
            Endpoint::SteadyState => self.steady_state_requests.inc(),
        }
    }

    /// Counts a response to a request that was refused before it reached an endpoint.
    pub(super) fn refused(&self, outcome: &str) {
        self.responses.with_label_values(&["", "", outcome]).inc();
    }

    /// Counts a response. `group` is a configured group, or empty.
    pub(super) fn response(&self, endpoint: Endpoint, group: &str, outcome: &str, took: Duration) {
        let endpoint = endpoint.label();
        self.responses
            .with_label_values(&[endpoint, group, outcome])
            .inc();
        self.duration
            .with_label_values(&[endpoint])
            .observe(took.as_secs_f64());
    }
}
