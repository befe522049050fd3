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

/// The body of an error.
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

/// Tells what a response means. Only one with the status code 200 is a success.
fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), AskError> {
    let refusal = Refusal::parse(body);
    let is_explained = refusal.is_some();
    let refusal = refusal.unwrap_or(Refusal::Unexplained(status));
    match status.as_u16() {
        // The page of a login or an error, of a proxy that answers each request with one.
        200 if is_page(headers, body) => Err(AskError::NotFleetLock(status)),
        200 => Ok(()),
        300..=399 => Err(AskError::Redirect {
            status,
            target: target(headers),
        }),
        // Zincati takes these as a success. The protocol does not: heathcliff26/fleetlock sends 202 until it has drained the
        // node.
        201..=299 | 423 => Err(AskError::Denied(refusal)),
        // Without an explanation, they come from a proxy.
        408 | 409 | 429 | 500..=599 if is_explained => Err(AskError::Denied(refusal)),
        408 | 429 | 500..=599 => Err(AskError::NotFleetLock(status)),
        400..=499 => Err(AskError::Rejected(refusal)),
        _ => Err(AskError::NotFleetLock(status)),
    }
}

/// Reports whether a body is a document. The bodies of FleetLock servers are empty, JSON, or a line of text.
fn is_page(headers: &HeaderMap, body: &[u8]) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.map_or(&[][..], HeaderValue::as_bytes);
    content_type.to_ascii_lowercase().starts_with(b"text/html")
        || body.trim_ascii().starts_with(b"<")
}

/// Returns the target of a redirect, quoted. The query is left out: it may contain a token.
fn target(headers: &HeaderMap) -> String {
    let target = headers.get(header::LOCATION);
    let target = String::from_utf8_lossy(target.map_or(&[][..], HeaderValue::as_bytes));
    let target = target.split(['?', '#']).next().unwrap_or_default();
    quoted_start(&redacted(target), MAX_TEXT)
}

// === impl Refusal ===

impl Refusal {
    fn parse(body: &[u8]) -> Option<Self> {
        let body: ErrorBody = serde_json::from_slice(body).ok()?;
        Some(Refusal::Explained {
            kind: shortened(&body.kind, MAX_KIND).into_owned(),
            value: shortened(&body.value, MAX_TEXT).into_owned(),
        })
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
    fn only_200_that_is_not_a_page_is_a_success() {
        for (content_type, body) in [
            // coreos/airlock, poseidon/fleetlock, heathcliff26/fleetlock.
            ("", ""),
            ("text/plain; charset=utf-8", "obtained reboot lease"),
            (
                "text/plain; charset=utf-8",
                r#"{"kind":"success","value":"ok"}"#,
            ),
        ] {
            assert_eq!(meaning(200, content_type, body), "success");
        }
        for (content_type, body) in [
            ("Text/HTML; charset=utf-8", "Log in"),
            ("", "\n<!DOCTYPE html>"),
        ] {
            let expected = "the response is 200 OK, but not one of a FleetLock server";
            assert_eq!(meaning(200, content_type, body), expected);
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
            assert_eq!(meaning(status, "text/plain", FULL), expected, "{status}");
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
