//! The status listener: what people and programs look at. It changes nothing.

mod page;
mod snapshot;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::admin;
use crate::live::LiveReceiver;
use crate::metrics::Metrics;
use crate::monitor;
use crate::store::measured::Health;
use snapshot::Snapshot;

/// What the handlers need.
pub struct Status {
    pub live: LiveReceiver,
    pub metrics: Arc<Metrics>,
    pub health: watch::Receiver<Health>,
}

/// The routes of the status listener.
pub fn router(status: Arc<Status>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/v1/status", get(json))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(status)
}

/// The page may load nothing and run nothing, whatever got into it.
const CONTENT_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

async fn index(State(status): State<Arc<Status>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let page = page::render(&status.snapshot(), &admin::host());
    (headers, page.into_string()).into_response()
}

async fn json(State(status): State<Arc<Status>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    match serde_json::to_string(&status.snapshot()) {
        Ok(text) => (headers, text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn metrics(State(status): State<Arc<Status>>) -> Response {
    let content_type = [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)];
    let text = status.metrics.render(&status.live.get());
    (content_type, text).into_response()
}

async fn readyz(State(status): State<Arc<Status>>) -> Response {
    match monitor::readiness(&status.health.borrow()) {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

// === impl Status ===

impl Status {
    fn snapshot(&self) -> Snapshot {
        let health = self.health.borrow().clone();
        Snapshot::take(&self.live.get(), &health, Timestamp::now())
    }
}
