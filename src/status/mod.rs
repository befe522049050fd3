//! The status listener: the page for operators, its data for programs, and the runbook. It changes nothing.

mod document;
mod hosts;
mod page;
mod policy;
mod runbook;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::config::ConfigErrors;
use crate::coordinator::StateReceiver;
use crate::denials::{Denials, MAX_LISTED};
use crate::fleet::{FleetReceiver, ServerId};
use crate::names::NodeNames;
use crate::store::health::Health;
use crate::text::escape::{escaped_json, printable};
use crate::text::explain::chain;
use document::Document;
use view::Sources;
pub(crate) use view::{
    CapUsage, CompletedHoldView, Condition, DenialView, GateServerView, GateView, GroupFacts,
    GroupView, HolderView, ServerView, SharedPolicies, StatusView, StoreView, WaiterView, denials,
    gates_of_group, overdue_seconds,
};

/// The shared state of the handlers.
pub(crate) struct Status {
    pub(crate) state: StateReceiver,
    pub(crate) health: watch::Receiver<Health>,
    pub(crate) denials: Arc<Denials>,
    /// Returns the metrics in the text format of Prometheus.
    pub(crate) metrics: Box<dyn Fn() -> String + Send + Sync>,
    pub(crate) fleet: FleetReceiver,
    /// This server.
    pub(crate) id: ServerId,
    /// The names of nodes.
    pub(crate) names: Arc<NodeNames>,
    /// The configuration file, which the commands on the page use.
    pub(crate) config: PathBuf,
    /// The endpoints or the file of the store.
    pub(crate) location: String,
    /// The reason why the last reload changed nothing.
    pub(crate) rejection: watch::Receiver<Option<ConfigErrors>>,
}

/// The handlers' shared state, and the documents that they share.
struct Pages {
    status: Status,
    page: Document,
    json: Document,
    metrics: Document,
    runbook: Document,
}

const HTML: &str = "text/html; charset=utf-8";

/// Returns the routes of the status listener. Requests may be for `allowed_hosts`, or for all hosts.
pub(crate) fn router(status: Status, allowed_hosts: Option<Vec<String>>) -> Router {
    let pages = Arc::new(Pages {
        status,
        page: Document::new(HTML, document::MAX_AGE),
        json: Document::new("application/json", document::MAX_AGE),
        // Two scrapes may follow an event and precede the next one within a second.
        metrics: Document::new(prometheus::TEXT_FORMAT, Duration::ZERO),
        // It is the same for as long as the server runs.
        runbook: Document::new(HTML, Duration::MAX),
    });
    let routes = Router::new()
        .route("/", get(index))
        .route("/v1/status", get(json))
        .route("/metrics", get(metrics))
        .route(runbook::PATH, get(runbook))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(pages);
    match allowed_hosts {
        None => routes,
        Some(hosts) => {
            let hosts: Arc<[String]> = hosts.into();
            routes.layer(middleware::from_fn_with_state(hosts, hosts::check))
        }
    }
}

async fn index(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    let shared = Arc::clone(&pages);
    let render = move || {
        let status = &shared.status;
        page::render(&status.view(), &status.config)
    };
    with_policy(
        &policy::STATUS_PAGE,
        pages.page.respond(&headers, render).await,
    )
}

async fn runbook(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    let page = pages.runbook.respond(&headers, runbook::render).await;
    with_policy(&policy::TEXT, page)
}

fn with_policy(policy: &'static str, page: Response) -> Response {
    ([(header::CONTENT_SECURITY_POLICY, policy)], page).into_response()
}

async fn json(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    // The view has string keys and finite numbers only, so that this cannot fail.
    let shared = Arc::clone(&pages);
    let render = move || {
        let text = serde_json::to_string(&shared.status.view()).unwrap_or_default();
        escaped_json(&text).into_owned()
    };
    pages.json.respond(&headers, render).await
}

async fn metrics(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    let shared = Arc::clone(&pages);
    let render = move || (shared.status.metrics)();
    pages.metrics.respond(&headers, render).await
}

async fn readyz(State(pages): State<Arc<Pages>>) -> Response {
    let health = pages.status.health.borrow().clone();
    match health.readiness(Instant::now()) {
        Ok(()) => {
            let notices = health.notices.iter().map(ToString::to_string);
            let notices: String = notices
                .chain(pages.status.reload_problem())
                .map(|notice| format!("warning: {}\n", printable(&notice)))
                .collect();
            format!("ok\n{notices}").into_response()
        }
        Err(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{}\n", printable(&chain(&reason))),
        )
            .into_response(),
    }
}

// === impl Status ===

impl Status {
    fn view(&self) -> StatusView {
        let health = self.health.borrow().clone();
        let fleet = self.fleet.borrow().clone();
        let now = Timestamp::now();
        let sources = Sources {
            state: &self.state.get(),
            health: &health,
            fleet: fleet.as_deref(),
            id: &self.id,
            names: &self.names,
            denials: self.denials.list(now, MAX_LISTED),
            location: &self.location,
            reload_problem: self.reload_problem(),
        };
        StatusView::new(sources, now)
    }

    /// Describes the last reload if it changed nothing. Everybody may read it, so only the log has the values of the file.
    fn reload_problem(&self) -> Option<String> {
        let rejection = self.rejection.borrow();
        let places = rejection.as_ref()?.places();
        Some(format!(
            "the configuration file was not reloaded, and the previous configuration stays in effect: \
             {places}; see the log"
        ))
    }
}
