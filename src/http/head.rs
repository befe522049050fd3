//! Checks of request heads that hyper does not make, or to which it would respond without a body.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Request, Version, header};
use tower::Service as _;

use crate::config::Limits;

/// The reason why the head of a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusedHead {
    /// The head has more bytes, or more fields.
    TooLarge(HeadLimits),
    /// An HTTP/1.1 request has this number of `Host` fields. RFC 9112, section 3.2, requires one.
    Hosts(usize),
}

/// The maximum size of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadLimits {
    pub(crate) bytes: usize,
    pub(crate) fields: usize,
}

/// Returns the response to a request of the client at an address, the head of which is refused.
pub(crate) type Refuse = Arc<dyn Fn(&RefusedHead, IpAddr) -> Response<String> + Send + Sync>;

/// A router behind the checks. They are not a layer of the router itself, because axum boxes each layer: that costs
/// every request more than the checks.
pub(super) struct CheckedRouter {
    inner: Router,
    max: HeadLimits,
    refuse: Refuse,
}

// === impl CheckedRouter ===

impl CheckedRouter {
    pub(super) fn new(inner: Router, limits: &Limits, refuse: Refuse) -> Self {
        CheckedRouter {
            inner,
            max: HeadLimits::of(limits),
            refuse,
        }
    }

    /// Passes the request of a client on before it creates the future, which would otherwise hold all of it until it
    /// completes.
    pub(super) fn call(
        &self,
        request: Request<Body>,
        client: IpAddr,
    ) -> impl Future<Output = Result<Response, Infallible>> + use<> {
        let response = match self.check(&request) {
            Ok(()) => Ok(self.inner.clone().call(request)),
            Err(refused) => Err(Box::new((self.refuse)(&refused, client))),
        };
        async move {
            match response {
                Ok(response) => response.await,
                Err(refused) => Ok(refused.map(Body::from)),
            }
        }
    }

    fn check(&self, request: &Request<Body>) -> Result<(), RefusedHead> {
        let headers = request.headers();
        let too_large = RefusedHead::TooLarge(self.max);
        match request.version() {
            Version::HTTP_11 => {
                let hosts = headers.get_all(header::HOST).iter().count();
                if hosts != 1 {
                    return Err(RefusedHead::Hosts(hosts));
                }
            }
            // hyper checks the size of an HTTP/1.1 head.
            Version::HTTP_2 if size(request) > self.max.bytes => return Err(too_large),
            _ => {}
        }
        if headers.len() > self.max.fields {
            return Err(too_large);
        }
        Ok(())
    }
}

// === impl HeadLimits ===

impl HeadLimits {
    pub(super) fn of(limits: &Limits) -> Self {
        HeadLimits {
            bytes: limits.header_bytes,
            fields: limits.max_headers,
        }
    }
}

/// Returns the size above which HTTP/2 discards a request head. It responds to it without a body, so that this is above
/// the limit that applies to the head.
pub(super) fn max_bytes(limits: &Limits) -> usize {
    limits.header_bytes.saturating_mul(4)
}

/// Returns the size of a head as HTTP/2 defines it: 32 bytes for each field, beside its name and value.
///
/// Source: RFC 9113, section 6.5.2.
pub(super) fn size<B>(request: &Request<B>) -> usize {
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + 32);
    let uri = request.uri();
    let authority = uri
        .authority()
        .map_or(0, |authority| authority.as_str().len());
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    authority + path + fields.sum::<usize>()
}
