//! The tasks of the listeners.

use std::sync::Arc;

use axum::Router;
use ipnet::IpNet;

use super::supervisor::Supervisor;
use crate::api;
use crate::config::Limits;
use crate::coordinator::StateReceiver;
use crate::http::{ConnectionContext, ConnectionMetrics, Listener};

/// The routers of the two listeners.
pub(super) struct Routers {
    pub(super) main: Router,
    pub(super) status: Router,
}

/// Spawns the task of each listener.
pub(super) fn spawn(
    supervisor: &mut Supervisor,
    (main, status): (Listener, Option<Listener>),
    routers: Routers,
    trusted_proxies: Arc<[IpNet]>,
    metrics: &ConnectionMetrics,
    state: &StateReceiver,
) {
    let context = |name, router, limits: fn(&Limits) -> Limits, trusted_proxies| {
        let state = state.clone();
        ConnectionContext {
            router,
            refuse: api::refused_head,
            limits: Box::new(move || limits(&state.get().limits)),
            metrics: metrics.of(name),
            trusted_proxies,
            shutdown: supervisor.shutdown.clone(),
            connections: supervisor.connections.clone(),
        }
    };
    let main_context = context("service", routers.main, Limits::clone, trusted_proxies);
    let no_proxies = Arc::default();
    let status_context = context("status", routers.status, Limits::for_operators, no_proxies);
    supervisor.spawn("main listener", main.serve(main_context));
    if let Some(status) = status {
        supervisor.spawn("status listener", status.serve(status_context));
    }
}
