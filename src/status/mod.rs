//! The status listener: what people and programs look at. It changes nothing.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use tokio::sync::watch;

use crate::live::LiveReceiver;
use crate::metrics::Metrics;
use crate::monitor;
use crate::store::measured::Health;

/// What the handlers need.
pub struct Status {
    pub live: LiveReceiver,
    pub metrics: Arc<Metrics>,
    pub health: watch::Receiver<Health>,
}

/// The routes of the status listener.
pub fn router(status: Arc<Status>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(status)
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
