//! The two endpoints of the FleetLock protocol.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use tokio::time;

use super::answer;
use super::basic::Credentials;
use super::connection::Peer;
use crate::access::{Access, Busy};
use crate::config::Limits;
use crate::fleetlock::{Endpoint, Identity, Refusal};
use crate::group::{Failure, Group};
use crate::metrics::Metrics;
use crate::semaphore::{Command, Outcome};
use crate::store::GroupName;

/// What the handlers need.
pub struct Service {
    /// `None`: everybody is let in.
    pub access: Option<Arc<Access>>,
    pub groups: BTreeMap<GroupName, Group>,
    pub transaction_timeout: Duration,
    pub limits: Limits,
    pub metrics: Arc<Metrics>,
}

/// The routes of the main listener.
pub fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/v1/pre-reboot", post(pre_reboot))
        .route("/v1/steady-state", post(steady_state))
        .fallback(async || answer::refused(&Refusal::NotFound))
        .method_not_allowed_fallback(async || answer::refused(&Refusal::MethodNotAllowed))
        .with_state(service)
}

async fn pre_reboot(State(service): State<Arc<Service>>, request: Request) -> Response {
    tracing::debug!("got pre-reboot request");
    service.handle(Endpoint::PreReboot, request).await
}

async fn steady_state(State(service): State<Arc<Service>>, request: Request) -> Response {
    tracing::debug!("got steady-state report");
    service.handle(Endpoint::SteadyState, request).await
}

// === impl Service ===

impl Service {
    async fn handle(&self, endpoint: Endpoint, request: Request) -> Response {
        let started = Instant::now();
        self.metrics.request(endpoint);
        let mut group = None;
        let peer = request.extensions().get::<Peer>().copied();
        let result = self.answer(endpoint, request, peer, &mut group).await;
        let (outcome, response) = match &result {
            Ok(outcome) => (*outcome, answer::granted()),
            Err(refusal @ (Refusal::Unauthorized { .. } | Refusal::PasswordsWait)) => {
                // What the client calls itself is not logged: it may be a password in the wrong place.
                let peer = peer.map(|Peer(address)| address.to_string());
                tracing::error!(peer, "{}", refusal.log_message());
                (refusal.kind(), answer::refused(refusal))
            }
            Err(refusal) => {
                tracing::error!("{}", refusal.log_message());
                (refusal.kind(), answer::refused(refusal))
            }
        };
        let group = group.map_or("", |group: &Group| group.name().as_str());
        self.metrics
            .response(endpoint, group, outcome, started.elapsed());
        response
    }

    /// The checks in Airlock's order, then the lock. `group` is set as soon as it is known.
    ///
    /// Where passwords are asked for, they come before everything: to a stranger nothing is said about
    /// headers, bodies and groups.
    async fn answer<'a>(
        &'a self,
        endpoint: Endpoint,
        request: Request,
        peer: Option<Peer>,
        group: &mut Option<&'a Group>,
    ) -> Result<&'static str, Refusal> {
        let user = self.user(request.headers(), peer).await;
        let header = request.headers().get("fleet-lock-protocol");
        let header = Identity::check_header(header.map(|value| value.as_bytes()));
        let body = self.body(request.into_body()).await;
        let user = user?;
        header.map_err(Refusal::InvalidIdentity)?;
        let Identity { group: name, id } =
            Identity::from_body(&body?).map_err(Refusal::InvalidIdentity)?;
        let message = match endpoint {
            Endpoint::PreReboot => "processing client pre-reboot request",
            Endpoint::SteadyState => "processing client steady-state report",
        };
        tracing::debug!(group = %name, %id, "{message}");
        let Some(found) = self.groups.get(name.as_str()) else {
            return Err(Refusal::UnknownGroup(name));
        };
        *group = Some(found);
        if let (Some(access), Some(user)) = (&self.access, user)
            && !access.may_lock(&user, found.name())
        {
            return Err(Refusal::Forbidden { user, group: name });
        }
        let command = match endpoint {
            Endpoint::PreReboot => Command::lock_now(id.clone()),
            Endpoint::SteadyState => Command::Unlock { id: id.clone() },
        };
        let outcome = found
            .ask(command, self.transaction_timeout)
            .await
            .map_err(refusal)?;
        let outcome = match outcome {
            Outcome::Full { slots } => return Err(Refusal::Full { slots }),
            Outcome::Locked => "locked",
            Outcome::AlreadyHeld => "already_held",
            Outcome::Unlocked => "unlocked",
            Outcome::NotHeld => "not_held",
        };
        match endpoint {
            Endpoint::PreReboot => {
                tracing::debug!(group = %name, %id, "givin green-flag to pre-reboot request");
            }
            Endpoint::SteadyState => {
                tracing::debug!(group = %name, %id, "steady-state confirmed");
            }
        }
        Ok(outcome)
    }

    /// Who asks; `None` where nobody is asked for a password.
    async fn user(
        &self,
        headers: &HeaderMap,
        peer: Option<Peer>,
    ) -> Result<Option<String>, Refusal> {
        let Some(access) = &self.access else {
            return Ok(None);
        };
        let Some(Credentials { user, password }) = Credentials::from_headers(headers) else {
            return Err(Refusal::Unauthorized { given: false });
        };
        let peer = peer.map_or(IpAddr::from([0, 0, 0, 0]), |Peer(address)| address);
        match access.verify(peer, &user, &password).await {
            Ok(true) => Ok(Some(user)),
            Ok(false) => Err(Refusal::Unauthorized { given: true }),
            Err(Busy) => Err(Refusal::PasswordsWait),
        }
    }

    /// Reads the body, within the limits.
    ///
    /// What is too large is still read for a while and thrown away: a client that is writing does not
    /// read, and would see a broken connection where it should see the answer.
    async fn body(&self, mut body: Body) -> Result<Bytes, Refusal> {
        let max = self.limits.body_bytes;
        let most_discarded = max.max(8 << 20);
        let mut kept = Vec::new();
        let mut size = 0;
        let read = async {
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame.map_err(drop)?.into_data() else {
                    continue;
                };
                size += data.len();
                if size <= max {
                    kept.extend_from_slice(&data);
                } else if size > most_discarded {
                    break;
                }
            }
            Ok::<(), ()>(())
        };
        let read = time::timeout(self.limits.body_timeout, read).await;
        if size > max {
            return Err(Refusal::BodyTooLarge { max });
        }
        match read {
            Ok(Ok(())) => Ok(kept.into()),
            Ok(Err(())) | Err(_) => Err(Refusal::BodyIncomplete),
        }
    }
}

fn refusal(failure: Failure) -> Refusal {
    match failure {
        Failure::Unavailable(reason) => Refusal::StoreUnavailable(reason),
        Failure::Refused(reason) => Refusal::StoreRefused(reason),
        Failure::Busy => Refusal::Busy,
        Failure::ShuttingDown => Refusal::ShuttingDown,
    }
}
