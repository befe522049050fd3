//! The requests of a node to a FleetLock server, and what the responses mean.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use serde::Deserialize;
use tokio::time;

use crate::http_client::{ClientError, HttpClient, USER_AGENT};
use crate::text::escape::{quoted_start, redacted, shortened};
use crate::text::explain::Remedy;

/// The maximum size of a body. FleetLock has bodies of one short JSON object.
const MAX_BODY: usize = 64 << 10;

/// The maximum number of characters of a text or a target from the server in a message.
const MAX_TEXT: usize = 500;

/// The maximum number of characters of a kind.
const MAX_KIND: usize = 64;

/// A node that asks one endpoint of a server.
pub(crate) struct Node {
    pub(crate) client: HttpClient,
    pub(crate) url: Uri,
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) group: String,
    pub(crate) id: String,
    /// The time for one request, from the lookup of the name to the end of the response.
    pub(crate) timeout: Duration,
}

/// The reason why a request has not succeeded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("the server denies it: {0}")]
    Denied(Refusal),
    /// The server may have granted or released the slot nevertheless.
    #[error("the server reports a failure: {0}")]
    Failed(Refusal),
    #[error("the server rejects the request: {0}")]
    Rejected(Refusal),
    #[error("the response is {status}, a redirect to {target}")]
    Redirect { status: StatusCode, target: String },
    #[error("the response is {0}, but not one of a FleetLock server")]
    NotFleetLock(StatusCode),
    #[error("cannot connect")]
    Connect(#[source] ClientError),
    #[error("no response")]
    NoResponse(#[source] ClientError),
    #[error("no response within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("the response is {0}, and its body cannot be read")]
    Body(
        StatusCode,
        #[source] Box<dyn std::error::Error + Send + Sync>,
    ),
    #[error("the request cannot be written")]
    Request(#[from] http::Error),
}

/// The starts of the texts with which poseidon/fleetlock answers a success, the only server known to answer it with a text.
const SUCCESS_TEXTS: [&[u8]; 4] = [
    b"obtained reboot lease",
    b"retained reboot lease",
    b"unlocked reboot lease",
    b"reboot lease already unlocked",
];

/// The error of a server, for people.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The body is an error of FleetLock.
    #[error("{value} ({kind})")]
    Explained { kind: String, value: String },
    /// The body is something else.
    #[error("the response is {0}")]
    Unexplained(StatusCode),
}

/// The body of an error, and of a success of heathcliff26/fleetlock.
///
/// Source: the FleetLock protocol, "Errors".
#[derive(Deserialize)]
struct ErrorBody {
    kind: String,
    value: String,
}

// === impl Node ===

impl Node {
    /// Sends one request. Without an error, the server has granted the slot, or released it.
    ///
    /// # Errors
    /// If it has not, or may not have done so.
    pub(crate) async fn ask(&self) -> Result<(), AskError> {
        let exchanged = time::timeout(self.timeout, self.exchange()).await;
        exchanged.map_err(|_| AskError::Timeout(self.timeout))?
    }

    async fn exchange(&self) -> Result<(), AskError> {
        let response = self.client.send(self.request()?).await;
        let response = response.map_err(|error| {
            if error.is_connect() {
                AskError::Connect(error)
            } else {
                AskError::NoResponse(error)
            }
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await;
        let body = body.map_err(|error| AskError::Body(head.status, error))?;
        judge(head.status, &head.headers, &body.to_bytes())
    }

    /// Returns the request that Zincati sends, with the name of this program.
    fn request(&self) -> Result<Request<Full<Bytes>>, http::Error> {
        let identity = serde_json::json!({
            "client_params": { "id": self.id, "group": self.group }
        });
        let mut request = Request::post(self.url.clone())
            .header("fleet-lock-protocol", "true")
            .header(header::ACCEPT, "*/*")
            .header(header::USER_AGENT, USER_AGENT);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        request.body(Full::from(identity.to_string()))
    }
}

/// Tells what a response means. Only one with the status code 200 and the body of a known server is a success: a node
/// that takes another one as a grant reboots without a slot.
fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), AskError> {
    let body = trimmed(body);
    let error: Option<ErrorBody> = serde_json::from_slice(body).ok();
    let is_explained = error.is_some();
    let is_denial = error.as_ref().is_some_and(|error| error.is_denial(headers));
    let is_success = error.as_ref().is_some_and(|error| error.kind == "success");
    let refusal = error.map_or(Refusal::Unexplained(status), Refusal::from);
    match status.as_u16() {
        // The page of a proxy, which answers each request with a login or an error.
        200 if is_type(headers, b"text/html") => Err(AskError::NotFleetLock(status)),
        // coreos/airlock and Airlock have an empty body.
        200 if body.is_empty() || is_success => Ok(()),
        200 if is_explained => Err(AskError::Denied(refusal)),
        200 if SUCCESS_TEXTS.iter().any(|text| body.starts_with(text)) => Ok(()),
        200 => Err(AskError::NotFleetLock(status)),
        300..=399 => Err(AskError::Redirect {
            status,
            target: target(headers),
        }),
        // Zincati takes these as a success. The protocol does not: heathcliff26/fleetlock sends 202 until it has drained the
        // node.
        201..=299 | 423 => Err(AskError::Denied(refusal)),
        // Without an explanation, they come from a proxy.
        408 | 409 | 429 if is_explained => Err(AskError::Denied(refusal)),
        500..=599 if is_denial => Err(AskError::Denied(refusal)),
        500..=599 if is_explained => Err(AskError::Failed(refusal)),
        408 | 429 | 500..=599 => Err(AskError::NotFleetLock(status)),
        400..=499 => Err(AskError::Rejected(refusal)),
        _ => Err(AskError::NotFleetLock(status)),
    }
}

/// Removes white space, and the mark of UTF-8, from the ends of a body.
fn trimmed(body: &[u8]) -> &[u8] {
    let body = body.trim_ascii();
    body.strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(body)
        .trim_ascii()
}

/// Reports whether the body has this media type.
fn is_type(headers: &HeaderMap, media_type: &[u8]) -> bool {
    let found = headers.get(header::CONTENT_TYPE);
    let found = found.map_or(&[][..], HeaderValue::as_bytes);
    found.to_ascii_lowercase().starts_with(media_type)
}

/// Returns the target of a redirect, quoted. The query is left out: it may contain a token.
fn target(headers: &HeaderMap) -> String {
    let target = headers.get(header::LOCATION);
    let target = String::from_utf8_lossy(target.map_or(&[][..], HeaderValue::as_bytes));
    let target = target.split(['?', '#']).next().unwrap_or_default();
    quoted_start(&redacted(target), MAX_TEXT)
}

// === impl ErrorBody ===

impl ErrorBody {
    /// Reports whether an error with a status code of 5xx is a denial, and not a failure of the server or its store.
    ///
    /// coreos/airlock, which sends errors as text, has one kind for both.
    fn is_denial(&self, headers: &HeaderMap) -> bool {
        let value = &self.value;
        self.kind == "failed_lock"
            && (!is_type(headers, b"text/plain")
                || value.starts_with("all ")
                    && value.ends_with(" semaphore slots currently locked")
                || value == "conflict on semaphore detected, aborting")
    }
}

// === impl Refusal ===

impl From<ErrorBody> for Refusal {
    fn from(body: ErrorBody) -> Self {
        Refusal::Explained {
            kind: shortened(&body.kind, MAX_KIND).into_owned(),
            value: shortened(&body.value, MAX_TEXT).into_owned(),
        }
    }
}

// === impl AskError ===

impl AskError {
    /// Reports whether the server may answer the same request differently later, without any change by a person.
    pub(crate) fn is_temporary(&self) -> bool {
        !matches!(
            self,
            AskError::Rejected(_) | AskError::Redirect { .. } | AskError::Request(_)
        )
    }
}

impl Remedy for AskError {
    fn remedy(&self) -> Option<String> {
        let text = match self {
            AskError::Denied(_) | AskError::Body(..) | AskError::Request(_) => return None,
            AskError::Failed(_) => "check the log of the server, and its store",
            AskError::Rejected(_) => {
                "check the user, the password, the group, and the path of the URL; Airlock lists the clients that it \
                 rejects on its status page"
            }
            AskError::Redirect { .. } => {
                "redirects are not followed: set the URL to the new address"
            }
            AskError::NotFleetLock(_) => {
                "check that the URL is that of a FleetLock server, and the proxies in front of it"
            }
            AskError::Connect(error) if error.is_about_certificate() => {
                "name the CA that has issued the certificate of the server with --ca, and the server as in its certificate"
            }
            AskError::Connect(_) | AskError::Timeout(_) => {
                "check that the server runs, and that the URL names it"
            }
            AskError::NoResponse(_) => {
                "check the log of the server, and whether the URL has to begin with https:// or http://"
            }
        };
        Some(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"{"kind":"failed_lock","value":"all 1 slots\nlocked"}"#;

    /// Returns what a response means, in a few words.
    fn meaning(status: u16, content_type: &'static str, body: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(
            header::LOCATION,
            HeaderValue::from_static("https://u:secret@other/x?token=secret"),
        );
        let status = StatusCode::from_u16(status).unwrap();
        let judged = judge(status, &headers, body.as_bytes());
        judged.map_or_else(|error| error.to_string(), |()| "success".into())
    }

    #[test]
    fn only_200_with_the_body_of_a_known_server_is_a_success() {
        for (content_type, body) in [
            // coreos/airlock, poseidon/fleetlock, heathcliff26/fleetlock.
            ("", ""),
            ("", " \r\n"),
            ("text/plain; charset=utf-8", "obtained reboot lease"),
            ("text/plain; charset=utf-8", "retained reboot lease"),
            ("text/plain; charset=utf-8", "unlocked reboot lease for n"),
            ("text/plain; charset=utf-8", "reboot lease already unlocked"),
            (
                "text/plain; charset=utf-8",
                "{\"kind\":\"success\",\"value\":\"ok\"}\n",
            ),
        ] {
            assert_eq!(meaning(200, content_type, body), "success");
        }
        for (content_type, body) in [
            ("Text/HTML; charset=utf-8", "Log in"),
            ("text/html", ""),
            ("", "\n<!DOCTYPE html>"),
            ("text/plain", "\u{feff} <html>"),
            ("text/plain", "ok"),
            ("text/plain", "no reboot lease obtained"),
            ("application/json", r#"{"error":"unauthorized"}"#),
            (
                "application/json",
                r#"{"kind":"Status","status":"Failure"}"#,
            ),
            ("application/json", "{}"),
            ("application/json", "[]"),
            ("application/json", "true"),
            ("application/json", r#"{"kind":"success""#),
        ] {
            let expected = "the response is 200 OK, but not one of a FleetLock server";
            assert_eq!(meaning(200, content_type, body), expected, "{body}");
        }
        for body in [FULL, &format!("\n\u{feff}\n{FULL}")] {
            let expected = r"the server denies it: all 1 slots\nlocked (failed_lock)";
            assert_eq!(meaning(200, "", body), expected);
        }
        for status in (201..=299).chain([423]) {
            let meaning = meaning(status, "", "");
            assert!(
                meaning.starts_with("the server denies it: "),
                "{status}: {meaning}"
            );
        }
    }

    #[test]
    fn an_error_with_an_explanation_is_a_denial_and_another_one_is_that_of_a_proxy() {
        for status in [408, 409, 423, 429, 500, 502, 503] {
            let expected = r"the server denies it: all 1 slots\nlocked (failed_lock)";
            let meaning = meaning(status, "application/json", FULL);
            assert_eq!(meaning, expected, "{status}");
        }
        for status in [408, 429, 500, 502, 503] {
            let meaning = meaning(status, "", "<html>");
            assert!(
                meaning.ends_with("but not one of a FleetLock server"),
                "{status}: {meaning}"
            );
        }
        for status in [400, 401, 403, 404, 405, 410, 451] {
            let meaning = meaning(status, "", "nothing");
            assert!(
                meaning.starts_with("the server rejects the request: the response is 4"),
                "{meaning}"
            );
        }
    }

    #[test]
    fn a_failure_of_the_server_or_its_store_is_no_denial() {
        let (json, text) = ("application/json", "text/plain; charset=utf-8");
        for (status, content_type, kind, value, is_denial) in [
            (500, json, "failed_lock", "paused", true),
            (500, json, "failed_sem_init", "no quorum", false),
            (503, json, "server_shutting_down", "later", false),
            // coreos/airlock.
            (
                500,
                text,
                "failed_lock",
                "all 2 semaphore slots currently locked",
                true,
            ),
            (
                500,
                text,
                "failed_lock",
                "conflict on semaphore detected, aborting",
                true,
            ),
            (500, text, "failed_lock", "context deadline exceeded", false),
            (
                500,
                text,
                "failed_lock",
                "etcdserver: request timed out",
                false,
            ),
            (
                500,
                text,
                "failed_sem_init",
                "context deadline exceeded",
                false,
            ),
            // poseidon/fleetlock, heathcliff26/fleetlock.
            (
                500,
                json,
                "internal_error",
                "error getting reboot lease",
                false,
            ),
            (500, text, "error", "An unexpected error", false),
        ] {
            let body = serde_json::json!({ "kind": kind, "value": value }).to_string();
            let start = match is_denial {
                true => "the server denies it",
                false => "the server reports a failure",
            };
            let expected = format!("{start}: {value} ({kind})");
            assert_eq!(meaning(status, content_type, &body), expected);
        }
    }

    #[test]
    fn the_target_of_a_redirect_is_named_without_its_secrets() {
        for status in [301, 302, 303, 307, 308] {
            let meaning = meaning(status, "", FULL);
            assert!(
                meaning.ends_with(r#"a redirect to "https://u:***@other/x""#),
                "{meaning}"
            );
        }
    }

    #[test]
    fn a_text_of_any_length_becomes_a_short_one() {
        let body = format!(r#"{{"kind":"{0}","value":"{0}"}}"#, "é".repeat(10_000));
        assert!(meaning(500, "", &body).chars().count() < MAX_TEXT + MAX_KIND + 50);
    }
}
