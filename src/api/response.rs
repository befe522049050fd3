//! The HTTP responses to nodes.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, header};

use super::error::ApiError;
use crate::http::RefusedHead;

/// Returns the only success: an empty 200. Zincati takes any 2xx as a grant, so there must not be another one.
pub(super) fn ok() -> Response {
    Response::new(Body::empty())
}

/// Returns an error as the JSON object that the FleetLock protocol specifies.
pub(super) fn error(error: &ApiError<'_>) -> Response<String> {
    let body = serde_json::json!({ "kind": error.kind(), "value": error.value() });
    let mut response = Response::new(format!("{body}\n"));
    *response.status_mut() = error.status();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let ApiError::MethodNotAllowed { .. } = error {
        headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    if let ApiError::Unauthorized { .. } = error {
        let basic = HeaderValue::from_static("Basic realm=\"airlock\", charset=\"UTF-8\"");
        headers.insert(header::WWW_AUTHENTICATE, basic);
    }
    response
}

/// Returns the response to a request with a refused head.
pub(crate) fn refused_head(refused: &RefusedHead) -> Response<String> {
    error(&ApiError::RefusedHead(*refused))
}
