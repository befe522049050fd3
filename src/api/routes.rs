//! The two endpoints of the FleetLock protocol.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use tokio::time;

use super::endpoint::Endpoint;
use super::error::{ApiError, RequestLine};
use super::identity::{self, InvalidIdentity};
use super::metrics::ApiMetrics;
use super::refusal::Refusal;
use super::response;
use crate::auth::{Authenticator, BasicCredentials, QueueFull};
use crate::config::Limits;
use crate::coordinator::{Coordinator, Identity, Session};
use crate::denials::Denials;
use crate::http::{Peer, RefusedHead};
use crate::lock::GroupName;
use crate::network::ClientNetwork;
use crate::text::explain::chain;

/// The shared state of the handlers.
pub(crate) struct Api {
    /// `None`: every client is accepted without a password.
    pub(crate) authenticator: Option<Arc<Authenticator>>,
    pub(crate) coordinator: Coordinator,
    pub(crate) denials: Arc<Denials>,
    pub(crate) metrics: ApiMetrics,
}

/// A request that succeeded, for the metrics.
struct Success<'a> {
    group: &'a GroupName,
    outcome: &'static str,
}

/// Returns the routes of the main listener.
///
/// Those of FleetLock are also served below `path_prefix`, for a `base_url` with a path.
pub(crate) fn router(api: Arc<Api>, path_prefix: Option<&str>) -> Router {
    let mut routes = Router::new();
    for prefix in [Some(""), path_prefix].into_iter().flatten() {
        routes = routes
            .route(&format!("{prefix}/v1/pre-reboot"), post(pre_reboot))
            .route(&format!("{prefix}/v1/steady-state"), post(steady_state));
    }
    routes
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(api)
}

async fn not_found(State(api): State<Arc<Api>>, request: Request) -> Response {
    api.refuse_request(request, |request| ApiError::NotFound { request })
}

async fn method_not_allowed(State(api): State<Arc<Api>>, request: Request) -> Response {
    api.refuse_request(request, |request| ApiError::MethodNotAllowed { request })
}

fn pre_reboot(State(api): State<Arc<Api>>, request: Request) -> impl Future<Output = Response> {
    tracing::debug!("got pre-reboot request");
    api.handle(Endpoint::PreReboot, request)
}

fn steady_state(State(api): State<Arc<Api>>, request: Request) -> impl Future<Output = Response> {
    tracing::debug!("got steady-state report");
    api.handle(Endpoint::SteadyState, request)
}

// === impl Api ===

impl Api {
    /// Takes the request apart before it creates the future, which would otherwise hold all of it until it completes.
    fn handle(
        self: Arc<Self>,
        endpoint: Endpoint,
        request: Request,
    ) -> impl Future<Output = Response> {
        let (head, body) = request.into_parts();
        let peer = head.extensions.get().map(|Peer(address)| *address);
        let headers = head.headers;
        async move {
            let started = Instant::now();
            self.metrics.request(endpoint);
            let session = self.coordinator.begin();
            let result = self.respond(endpoint, &session, headers, body, peer).await;
            let (group, outcome, response) = match &result {
                Ok(Success { group, outcome }) => (Some(*group), *outcome, response::ok()),
                Err(refusal) => {
                    let error = &refusal.error;
                    refusal.report(&self.denials, peer);
                    let group = error.denied().and_then(|denied| denied.group);
                    (group, error.kind(), response::error(error).map(Body::from))
                }
            };
            let group = group.map_or("", GroupName::as_str);
            self.metrics
                .response(endpoint, group, outcome, started.elapsed());
            response
        }
    }

    /// Returns the response to a request of the client at `peer`, the head of which is refused.
    pub(crate) fn refuse_head(&self, refused: &RefusedHead, peer: IpAddr) -> Response<String> {
        self.refuse(ApiError::RefusedHead(*refused), Some(peer))
    }

    /// Returns the response to a request that is for no endpoint.
    fn refuse_request<'a>(
        &self,
        request: Request,
        error: impl FnOnce(RequestLine) -> ApiError<'a>,
    ) -> Response {
        let peer = request.extensions().get().map(|Peer(address)| *address);
        let line = RequestLine::of(request.method(), request.uri());
        self.refuse(error(line), peer).map(Body::from)
    }

    /// Refuses a request that has not reached an endpoint.
    fn refuse(&self, error: ApiError<'_>, peer: Option<IpAddr>) -> Response<String> {
        self.metrics.refused(error.kind());
        let response = response::error(&error);
        let refusal = Refusal {
            error,
            claimed: None,
        };
        refusal.report(&self.denials, peer);
        response
    }

    /// Checks the request in the order of coreos/airlock, then passes it to the coordinator.
    ///
    /// Where passwords are required, they are checked first: a client without one learns nothing about headers, bodies
    /// and groups. The body is read in any case, so that the client gets to read the response, and so that the connection
    /// does not hold it meanwhile.
    async fn respond<'a>(
        &self,
        endpoint: Endpoint,
        session: &'a Session<'_>,
        headers: HeaderMap,
        body: Body,
        peer: Option<IpAddr>,
    ) -> Result<Success<'a>, Refusal<'a>> {
        let header = headers.get("fleet-lock-protocol");
        let header = identity::check_header(header.map(|value| value.as_bytes()));
        let (user, body) = tokio::join!(
            self.authenticate(&headers, peer),
            read_body(session.limits(), body)
        );
        // The headers share a buffer with the connection, which needs another one as long as they exist.
        drop(headers);
        let identity =
            body.and_then(|body| identity::parse_body(&body).map_err(ApiError::InvalidIdentity));
        let checked = user.and_then(|user| {
            header.map_err(ApiError::InvalidIdentity)?;
            Ok(user)
        });
        let (result, claimed) = match (checked, identity) {
            (Ok(user), Ok(identity)) => {
                let result = decide(endpoint, session, user, &identity, peer).await;
                (result, Some(identity))
            }
            (Ok(_), Err(error)) => (Err(error), None),
            (Err(error), identity) => (Err(error), identity.ok()),
        };
        result.map_err(|error| Refusal { error, claimed })
    }

    /// Returns the authenticated user; `None` if the server requires no password.
    async fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Result<Option<String>, ApiError<'static>> {
        let Some(authenticator) = &self.authenticator else {
            return Ok(None);
        };
        let BasicCredentials { user, password } =
            BasicCredentials::from_headers(headers).map_err(|invalid| ApiError::Unauthorized {
                invalid: Some(invalid),
            })?;
        let peer = ClientNetwork::of(peer.unwrap_or(IpAddr::from([0, 0, 0, 0])));
        match authenticator.verify(peer.address(), &user, &password).await {
            Ok(true) => Ok(Some(user)),
            Ok(false) => Err(ApiError::Unauthorized { invalid: None }),
            Err(QueueFull) => Err(ApiError::AuthQueueFull),
        }
    }
}

/// Passes a request to the coordinator.
async fn decide<'a>(
    endpoint: Endpoint,
    session: &'a Session<'_>,
    user: Option<String>,
    identity: &Identity,
    peer: Option<IpAddr>,
) -> Result<Success<'a>, ApiError<'a>> {
    let success = match endpoint {
        Endpoint::PreReboot => {
            let granted = session.pre_reboot(user, identity, peer).await;
            granted.map(|granted| Success {
                outcome: granted.label(),
                group: granted.group,
            })
        }
        Endpoint::SteadyState => {
            let released = session.steady_state(user, identity, peer).await;
            released.map(|released| Success {
                outcome: released.label(),
                group: released.group,
            })
        }
    };
    success.map_err(ApiError::Denied)
}

/// Reads the body, within the limits.
///
/// The rest of a body that is too large is read for a while and discarded: a client that is still writing does not
/// read, and would see a broken connection instead of the response.
async fn read_body(limits: &Limits, mut body: Body) -> Result<Bytes, ApiError<'static>> {
    let max = limits.body_bytes;
    let max_discarded = max.max(8 << 20);
    let mut kept = Vec::new();
    let mut size = 0;
    let read = async {
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(encoding_error)?.into_data() else {
                continue;
            };
            size += data.len();
            if size <= max {
                kept.extend_from_slice(&data);
            } else if size > max_discarded {
                break;
            }
        }
        Ok::<(), ApiError<'_>>(())
    };
    let read = time::timeout(limits.body_timeout, read).await;
    if size > max {
        return Err(ApiError::BodyTooLarge { max });
    }
    match read {
        Ok(Ok(())) => Ok(kept.into()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ApiError::RequestTimeout),
    }
}

/// Returns the error for a body whose chunks are malformed, or that the client does not complete.
fn encoding_error(error: axum::Error) -> ApiError<'static> {
    ApiError::InvalidIdentity(InvalidIdentity::Encoding(chain(&error)))
}
