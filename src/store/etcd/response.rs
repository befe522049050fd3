//! What the responses of etcd have in common.

use etcd_client::{
    GetResponse, LeaseGrantResponse, LeaseRevokeResponse, MemberListResponse, PutResponse,
    ResponseHeader, TxnResponse, WatchStream,
};

/// A response that names the cluster it comes from.
pub(super) trait Response {
    /// Returns the header; `None` if it comes later.
    fn header(&self) -> Option<&ResponseHeader>;
}

impl Response for GetResponse {
    fn header(&self) -> Option<&ResponseHeader> {
        GetResponse::header(self)
    }
}

impl Response for TxnResponse {
    fn header(&self) -> Option<&ResponseHeader> {
        TxnResponse::header(self)
    }
}

impl Response for PutResponse {
    fn header(&self) -> Option<&ResponseHeader> {
        PutResponse::header(self)
    }
}

impl Response for MemberListResponse {
    fn header(&self) -> Option<&ResponseHeader> {
        MemberListResponse::header(self)
    }
}

impl Response for LeaseGrantResponse {
    fn header(&self) -> Option<&ResponseHeader> {
        LeaseGrantResponse::header(self)
    }
}

impl Response for LeaseRevokeResponse {
    fn header(&self) -> Option<&ResponseHeader> {
        LeaseRevokeResponse::header(self)
    }
}

/// Whether a lease that was to be kept alive exists. The client has taken the message with the header.
pub(super) struct Kept(pub(super) bool);

impl Response for Kept {
    fn header(&self) -> Option<&ResponseHeader> {
        None
    }
}

/// The header comes with the first message.
impl Response for WatchStream {
    fn header(&self) -> Option<&ResponseHeader> {
        None
    }
}

#[cfg(test)]
mod tests;
