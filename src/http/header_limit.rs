//! Middleware that limits the number of header fields of a request.
//!
//! hyper applies the limit to HTTP/1.1. For HTTP/2 it has none.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use tower::ServiceExt as _;

/// A router behind the limit. It is not a layer of the router itself, because axum boxes each layer: that costs every
/// request more than the check.
#[derive(Clone)]
pub(super) struct HeaderLimit {
    pub(super) inner: Router,
    pub(super) max: usize,
    /// Returns the response to a request that exceeds the limit, which it receives.
    pub(super) respond: fn(usize) -> Response,
}

// === impl HeaderLimit ===

impl HeaderLimit {
    pub(super) async fn call(self, request: Request<Body>) -> Result<Response, Infallible> {
        if request.headers().len() > self.max {
            return Ok((self.respond)(self.max));
        }
        self.inner.oneshot(request).await
    }
}
