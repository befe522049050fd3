//! The tasks of the listeners.

use std::sync::Arc;

use axum::Router;
use ipnet::IpNet;

use super::supervisor::Supervisor;
use crate::api::{self, Api};
use crate::config::Limits;
use crate::coordinator::StateReceiver;
use crate::http::{ConnectionContext, ConnectionMetrics, Listener, Refuse};

/// What the two listeners serve.
pub(super) struct Services {
    pub(super) api: Arc<Api>,
    /// The router of `api`.
    pub(super) main: Router,
    pub(super) status: Router,
}

/// Spawns the task of each listener.
pub(super) fn spawn(
    supervisor: &mut Supervisor,
    (main, status): (Listener, Option<Listener>),
    services: Services,
    trusted_proxies: Arc<[IpNet]>,
    metrics: &ConnectionMetrics,
    state: &StateReceiver,
) {
    let context = |name, router, limits: fn(&Limits) -> Limits, refuse: Refuse| {
        let state = state.clone();
        ConnectionContext {
            router,
            refuse,
            denials: None,
            limits: Box::new(move || limits(&state.get().limits)),
            metrics: metrics.of(name),
            trusted_proxies: Arc::default(),
            shutdown: supervisor.shutdown.clone(),
            connections: supervisor.connections.clone(),
        }
    };
    let denials = Arc::clone(&services.api.denials);
    let refuse: Refuse = Arc::new(move |refused, peer| services.api.refuse_head(refused, peer));
    let main_context = ConnectionContext {
        denials: Some(denials),
        trusted_proxies,
        ..context("service", services.main, Limits::clone, refuse)
    };
    let refuse: Refuse = Arc::new(|refused, _| api::refused_head(refused));
    let status_context = context("status", services.status, Limits::for_operators, refuse);
    supervisor.spawn("main listener", main.serve(main_context));
    if let Some(status) = status {
        supervisor.spawn("status listener", status.serve(status_context));
    }
}
