//! The names of groups and nodes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name of a reboot group. It is never empty.
///
/// The configuration creates it; a name in a request is only looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupName(Arc<str>);

/// The id under which a node holds a slot: 1 to 253 bytes without control and format characters.
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
    /// The first control or format character, and the byte at which it starts.
    #[error("client ID with the control or format character {} at byte {at}", code_point(*.found))]
    ControlOrFormat {
        /// The character.
        found: char,
        /// Its first byte.
        at: usize,
    },
}

/// Reports whether a character is in one of the categories Cc, Cf, Zl and Zp: it is invisible, ends a line, or controls
/// a terminal or the direction of the text. Two different names that contain such characters can look the same.
pub(crate) fn is_control_or_format(c: char) -> bool {
    // Source: DerivedGeneralCategory.txt of Unicode 17.
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}'
            | '\u{8e2}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}')
}

/// Formats a character as Unicode names it, such as `U+202E`.
pub(crate) fn code_point(c: char) -> String {
    format!("U+{:04X}", u32::from(c))
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
        match text.char_indices().find(|(_, c)| is_control_or_format(*c)) {
            Some((at, found)) => Err(InvalidNodeId::ControlOrFormat { found, at }),
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

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestId::Valid(id) => id.fmt(f),
            RequestId::Foreign { id, .. } => f.write_str(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::control_and_format_characters;

    #[test]
    fn an_id_has_1_to_253_bytes_and_no_control_or_format_characters() {
        assert!("2204af7f41984cb19b8cde4edc06c142".parse::<NodeId>().is_ok());
        assert!("é".repeat(126).parse::<NodeId>().is_ok());
        assert!("a".repeat(253).parse::<NodeId>().is_ok());
        assert_eq!("".parse::<NodeId>(), Err(InvalidNodeId::Empty));
        assert_eq!(
            "é".repeat(127).parse::<NodeId>(),
            Err(InvalidNodeId::TooLong(254))
        );
        for (text, found) in [
            ("é\nb", "U+000A"),
            ("é\0", "U+0000"),
            ("é\u{7f}", "U+007F"),
            ("é\u{85}", "U+0085"),
            ("é\u{202e}b\n", "U+202E"),
            ("é\u{e0001}", "U+E0001"),
        ] {
            let expected =
                format!("client ID with the control or format character {found} at byte 2");
            assert_eq!(text.parse::<NodeId>().unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn exactly_the_characters_of_four_categories_are_control_or_format_characters() {
        let found = ('\0'..=char::MAX)
            .filter(|c| is_control_or_format(*c))
            .collect::<Vec<char>>();
        assert_eq!(found, control_and_format_characters());
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
            (
                "a\nb",
                InvalidNodeId::ControlOrFormat { found: '\n', at: 1 },
            ),
            (&"é".repeat(127), InvalidNodeId::TooLong(254)),
        ] {
            let id: Arc<str> = text.into();
            let foreign = parse(text).unwrap();
            assert_eq!(foreign.shared(), id);
            assert_eq!(foreign, RequestId::Foreign { id, reason });
        }
    }
}
