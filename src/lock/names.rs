//! The names of groups and nodes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name of a reboot group. It is never empty.
///
/// The configuration creates it; a name in a request is only looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupName(Arc<str>);

/// The id under which a node holds a slot: 1 to 253 bytes without control characters.
///
/// Zincati sends 32 lower-case hexadecimal digits. 253 bytes is the length of the longest host name, for clients
/// that send host names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Arc<str>);

/// The id in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// A valid id.
    Valid(NodeId),
    /// An id that is not granted a lock here. coreos/airlock accepts every id, so a node may hold a slot under it.
    Foreign {
        /// The id, which is not empty.
        id: Arc<str>,
        /// The reason why it is not a [`NodeId`].
        reason: InvalidNodeId,
    },
}

/// The reason why a text is not a [`NodeId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNodeId {
    /// The text is empty. The message is that of coreos/airlock.
    #[error("empty client ID")]
    Empty,
    /// The text has this many bytes.
    #[error("client ID of {0} bytes; the maximum is {max}", max = NodeId::MAX_BYTES)]
    TooLong(usize),
    /// The first control character starts at this byte.
    #[error("client ID with a control character at byte {0}")]
    ControlCharacter(usize),
}

// === impl GroupName ===

impl GroupName {
    /// The maximum length of a name in bytes.
    pub const MAX_BYTES: usize = NodeId::MAX_BYTES;

    /// Returns `None` for an empty name.
    pub fn new(name: &str) -> Option<Self> {
        (!name.is_empty()).then(|| GroupName(name.into()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for GroupName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl NodeId ===

impl NodeId {
    /// The maximum length of an id in bytes.
    pub const MAX_BYTES: usize = 253;

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the same text without copying it.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl FromStr for NodeId {
    type Err = InvalidNodeId;

    fn from_str(text: &str) -> Result<Self, InvalidNodeId> {
        if text.is_empty() {
            return Err(InvalidNodeId::Empty);
        }
        if text.len() > NodeId::MAX_BYTES {
            return Err(InvalidNodeId::TooLong(text.len()));
        }
        match text.find(char::is_control) {
            Some(at) => Err(InvalidNodeId::ControlCharacter(at)),
            None => Ok(NodeId(text.into())),
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl RequestId ===

impl RequestId {
    /// Returns the id as text.
    pub fn shared(&self) -> Arc<str> {
        match self {
            RequestId::Valid(id) => id.shared(),
            RequestId::Foreign { id, .. } => Arc::clone(id),
        }
    }
}

/// Fails for an empty text only.
impl FromStr for RequestId {
    type Err = InvalidNodeId;

    fn from_str(text: &str) -> Result<Self, InvalidNodeId> {
        match text.parse() {
            Ok(id) => Ok(RequestId::Valid(id)),
            Err(InvalidNodeId::Empty) => Err(InvalidNodeId::Empty),
            Err(reason) => Ok(RequestId::Foreign {
                id: text.into(),
                reason,
            }),
        }
    }
}

/// Formats the id for the log: at most [`NodeId::MAX_BYTES`] characters of it.
impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestId::Valid(id) => id.fmt(f),
            RequestId::Foreign { id, .. } => match id.char_indices().nth(NodeId::MAX_BYTES) {
                Some((end, _)) => write!(f, "{}…", &id[..end]),
                None => f.write_str(id),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_1_to_253_bytes_and_no_control_characters() {
        assert!("2204af7f41984cb19b8cde4edc06c142".parse::<NodeId>().is_ok());
        assert!("é".repeat(126).parse::<NodeId>().is_ok());
        assert!("a".repeat(253).parse::<NodeId>().is_ok());
        assert_eq!("".parse::<NodeId>(), Err(InvalidNodeId::Empty));
        assert_eq!(
            "é".repeat(127).parse::<NodeId>(),
            Err(InvalidNodeId::TooLong(254))
        );
        for control in ["a\nb", "a\0", "a\u{7f}", "a\u{85}"] {
            assert_eq!(
                control.parse::<NodeId>(),
                Err(InvalidNodeId::ControlCharacter(1))
            );
        }
    }

    #[test]
    fn names_are_shown_and_found_as_they_are() {
        let group = GroupName::new("a b").unwrap();
        assert_eq!((group.as_str(), &*group.to_string()), ("a b", "a b"));
        let groups = std::collections::BTreeSet::from([group]);
        assert!(groups.contains("a b"));
        assert_eq!(GroupName::new(""), None);
        assert_eq!("n-1".parse::<NodeId>().unwrap().to_string(), "n-1");
    }

    #[test]
    fn a_request_may_have_any_id_but_an_empty_one() {
        let parse = |text: &str| text.parse::<RequestId>();
        assert_eq!(parse(""), Err(InvalidNodeId::Empty));
        assert_eq!(parse("a"), Ok(RequestId::Valid("a".parse().unwrap())));
        for (text, reason) in [
            ("a\nb", InvalidNodeId::ControlCharacter(1)),
            (&"é".repeat(127), InvalidNodeId::TooLong(254)),
        ] {
            let id: Arc<str> = text.into();
            let foreign = parse(text).unwrap();
            assert_eq!(foreign.shared(), id);
            assert_eq!(foreign, RequestId::Foreign { id, reason });
        }
    }

    #[test]
    fn a_long_id_is_cut_for_the_log() {
        let shown = |text: &str| text.parse::<RequestId>().unwrap().to_string();
        for whole in ["a", "a\nb", &"é".repeat(253)] {
            assert_eq!(shown(whole), whole);
        }
        assert_eq!(shown(&"é".repeat(254)), format!("{}…", "é".repeat(253)));
    }
}
