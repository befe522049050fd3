//! The two endpoints of the FleetLock protocol.

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
use jiff::Timestamp;
use tokio::time;

use super::answer;
use super::basic::Credentials;
use super::connection::Peer;
use crate::access::{Access, Busy};
use crate::config::Limits;
use crate::fleetlock::{Endpoint, Identity, NodeId, Refusal};
use crate::group::{Failure, Group, Why};
use crate::live::{Live, LiveGroup, LiveReceiver};
use crate::metrics::Metrics;
use crate::policy::State as WindowState;
use crate::semaphore::{Command, Outcome};

/// What the handlers need.
pub struct Service {
    /// `None`: everybody is let in.
    pub access: Option<Arc<Access>>,
    pub live: LiveReceiver,
    pub transaction_timeout: Duration,
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
        let live = self.live.get();
        let mut group = None;
        let peer = request.extensions().get::<Peer>().copied();
        let result = self
            .answer(&live, endpoint, request, peer, &mut group)
            .await;
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
        &self,
        live: &'a Live,
        endpoint: Endpoint,
        request: Request,
        peer: Option<Peer>,
        group: &mut Option<&'a Group>,
    ) -> Result<&'static str, Refusal> {
        let user = self.user(request.headers(), peer).await;
        let header = request.headers().get("fleet-lock-protocol");
        let header = Identity::check_header(header.map(|value| value.as_bytes()));
        let body = read_body(&live.limits, request.into_body()).await;
        let user = user?;
        header.map_err(Refusal::InvalidIdentity)?;
        let Identity { group: name, id } =
            Identity::from_body(&body?).map_err(Refusal::InvalidIdentity)?;
        let message = match endpoint {
            Endpoint::PreReboot => "processing client pre-reboot request",
            Endpoint::SteadyState => "processing client steady-state report",
        };
        tracing::debug!(group = %name, %id, "{message}");
        let Some(found) = live.groups.get(name.as_str()) else {
            return Err(Refusal::UnknownGroup(name));
        };
        *group = Some(&found.group);
        if let (Some(user), Some(users)) = (user, &found.settings.users)
            && !users.contains(&user)
        {
            return Err(Refusal::Forbidden { user, group: name });
        }
        let result = match endpoint {
            Endpoint::PreReboot => self.lock(found, &id).await,
            Endpoint::SteadyState => self.unlock(found, &id).await,
        };
        match (endpoint, result.as_ref().map_err(why)) {
            (_, Ok(_)) => found.group.served(&id),
            (Endpoint::PreReboot, Err(Some(why))) => found.group.refused(&id, why),
            (Endpoint::PreReboot | Endpoint::SteadyState, Err(_)) => {}
        }
        let outcome = result?;
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

    /// Within a window the node becomes a holder, outside it may only stay one (invariant 9).
    async fn lock(&self, found: &LiveGroup, id: &NodeId) -> Result<&'static str, Refusal> {
        let id = id.clone();
        let state = found.settings.windows.state(Timestamp::now());
        let (command, next) = match state {
            WindowState::Always | WindowState::Open { .. } => (Command::lock_now(id), None),
            WindowState::Closed { next } => (Command::Renew { id }, next),
        };
        match self.ask(&found.group, command).await? {
            Outcome::Locked => Ok("locked"),
            Outcome::AlreadyHeld => Ok("already_held"),
            Outcome::Full { slots } => Err(Refusal::Full { slots }),
            Outcome::NotHeld | Outcome::Unlocked => Err(Refusal::OutsideWindow {
                group: found.group.name().to_string(),
                opens: next.map(|opening| opening.opens_text()),
            }),
        }
    }

    async fn unlock(&self, found: &LiveGroup, id: &NodeId) -> Result<&'static str, Refusal> {
        let command = Command::Unlock { id: id.clone() };
        Ok(match self.ask(&found.group, command).await? {
            Outcome::Unlocked => "unlocked",
            Outcome::NotHeld | Outcome::Locked | Outcome::AlreadyHeld | Outcome::Full { .. } => {
                "not_held"
            }
        })
    }

    async fn ask(&self, group: &Group, command: Command) -> Result<Outcome, Refusal> {
        let asked = group.ask(command, self.transaction_timeout).await;
        asked.map_err(refusal)
    }
}

/// Reads the body, within the limits.
///
/// What is too large is still read for a while and thrown away: a client that is writing does not
/// read, and would see a broken connection where it should see the answer.
async fn read_body(limits: &Limits, mut body: Body) -> Result<Bytes, Refusal> {
    let max = limits.body_bytes;
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
    let read = time::timeout(limits.body_timeout, read).await;
    if size > max {
        return Err(Refusal::BodyTooLarge { max });
    }
    match read {
        Ok(Ok(())) => Ok(kept.into()),
        Ok(Err(())) | Err(_) => Err(Refusal::BodyIncomplete),
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

/// Why the node has to wait, if that is what the refusal says.
fn why(refusal: &Refusal) -> Option<Why> {
    match refusal {
        Refusal::Full { slots: 0 } => Some(Why::Paused),
        Refusal::Full { .. } => Some(Why::Full),
        Refusal::OutsideWindow { .. } => Some(Why::OutsideWindow),
        Refusal::StoreUnavailable(_) | Refusal::Busy => Some(Why::Unavailable),
        Refusal::StoreRefused(_) => Some(Why::Damaged),
        Refusal::InvalidIdentity(_)
        | Refusal::BodyTooLarge { .. }
        | Refusal::BodyIncomplete
        | Refusal::UnknownGroup(_)
        | Refusal::ShuttingDown
        | Refusal::TooManyHeaders { .. }
        | Refusal::Unauthorized { .. }
        | Refusal::Forbidden { .. }
        | Refusal::PasswordsWait
        | Refusal::NotFound
        | Refusal::MethodNotAllowed => None,
    }
}
