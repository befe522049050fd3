//! The status listener: the page for operators, and its data for programs. It changes nothing.

mod page;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::coordinator::StateReceiver;
use crate::store::health::Health;
use crate::text::explain::chain;
use view::StatusView;
pub(crate) use view::{GroupFacts, GroupView};

/// The shared state of the handlers.
pub(crate) struct Status {
    pub(crate) state: StateReceiver,
    pub(crate) health: watch::Receiver<Health>,
    /// Returns the metrics in the text format of Prometheus.
    pub(crate) metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// The name of this machine.
    pub(crate) host: String,
    /// The configuration file, which the commands on the page use.
    pub(crate) config: PathBuf,
}

/// Returns the routes of the status listener.
pub(crate) fn router(status: Arc<Status>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/v1/status", get(json))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(status)
}

/// The page may load and run nothing, whatever a client managed to put into it.
const CONTENT_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

async fn index(State(status): State<Arc<Status>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let page = page::render(&status.view(), &status.host, &status.config);
    (headers, page.into_string()).into_response()
}

async fn json(State(status): State<Arc<Status>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    match serde_json::to_string(&status.view()) {
        Ok(text) => (headers, text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn metrics(State(status): State<Arc<Status>>) -> Response {
    let content_type = [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)];
    (content_type, (status.metrics)()).into_response()
}

async fn readyz(State(status): State<Arc<Status>>) -> Response {
    let health = status.health.borrow().clone();
    match health.readiness(Instant::now()) {
        Ok(()) => {
            let notices = health.notices.iter();
            let notices: String = notices
                .map(|notice| format!("warning: {notice}\n"))
                .collect();
            format!("ok\n{notices}").into_response()
        }
        Err(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{}\n", chain(&reason)),
        )
            .into_response(),
    }
}

// === impl Status ===

impl Status {
    fn view(&self) -> StatusView {
        let health = self.health.borrow().clone();
        StatusView::new(&self.state.get(), &health, Timestamp::now())
    }
}
