//! What a request comes to, as an HTTP response. The only place with status codes.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

use crate::fleetlock::Refusal;

/// The one success: 200 with nothing in it. Any 2xx is a grant to Zincati, so there is no other.
pub fn granted() -> Response {
    Response::new(Body::empty())
}

/// A refusal as the JSON that the FleetLock protocol asks for.
pub fn refused(refusal: &Refusal) -> Response {
    let body = serde_json::json!({ "kind": refusal.kind(), "value": refusal.value() });
    let mut response = Response::new(Body::from(format!("{body}\n")));
    *response.status_mut() = status(refusal);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Refusal::MethodNotAllowed = refusal {
        headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    if let Refusal::Unauthorized { .. } = refusal {
        let basic = HeaderValue::from_static("Basic realm=\"airlock\", charset=\"UTF-8\"");
        headers.insert(header::WWW_AUTHENTICATE, basic);
    }
    response
}

fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::InvalidIdentity(_) | Refusal::UnknownGroup(_) => StatusCode::BAD_REQUEST,
        Refusal::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::BodyIncomplete => StatusCode::REQUEST_TIMEOUT,
        Refusal::OutsideWindow { .. } => StatusCode::LOCKED,
        Refusal::Full { .. } | Refusal::StoreUnavailable(_) | Refusal::StoreRefused(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        Refusal::TooManyHeaders { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Refusal::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
        Refusal::Forbidden { .. } => StatusCode::FORBIDDEN,
        Refusal::Busy | Refusal::PasswordsWait | Refusal::ShuttingDown => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Refusal::NotFound => StatusCode::NOT_FOUND,
        Refusal::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
    }
}
