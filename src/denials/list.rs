//! A bounded list of rejected clients.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use super::reason::DenialReason;
use crate::lock::NodeId;
use crate::network::ClientNetwork;

/// The time after its last denial at which a client is forgotten. Zincati asks every 5 minutes.
const MAX_SILENCE: SignedDuration = SignedDuration::from_mins(15);

/// The maximum number of bytes of a detail.
pub(super) const MAX_DETAIL: usize = 200;

/// A request or a connection that is rejected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Denial<'a> {
    pub(crate) reason: DenialReason,
    /// The address of the client.
    pub(crate) peer: IpAddr,
    /// The group that the client claims to belong to, configured or not.
    pub(crate) group: Option<&'a str>,
    /// The node that the client claims to be.
    pub(crate) id: Option<&'a NodeId>,
    /// What else the operator needs to know: of an unknown group its name, otherwise a text for people.
    pub(crate) detail: Option<&'a str>,
}

/// The rejected clients of a group, or of the server.
///
/// A denial costs about the same however many clients are known. If the list is full, the client that was silent for
/// the longest time makes room, of the reason with the most clients: a port scan from many addresses hides no client
/// that is rejected for another reason.
#[derive(Debug, Default)]
pub(super) struct DenialList {
    clients: HashMap<Key, Entry>,
    /// The clients of each reason, in the order in which they expire.
    by_last: [BTreeSet<(Timestamp, ClientNetwork)>; DenialReason::ALL.len()],
}

/// A client counts once for each reason.
pub(super) type Key = (DenialReason, ClientNetwork);

/// What is known about a rejected client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The latest address in the client's network.
    pub(super) peer: IpAddr,
    /// The latest id that a request named: behind one address, there can be many, in turn.
    pub(super) id: Option<NodeId>,
    /// The detail of the latest denial, at most [`MAX_DETAIL`] bytes.
    pub(super) detail: Option<Box<str>>,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    /// The number of denials since `first`.
    pub(super) times: u64,
}

// === impl DenialList ===

impl DenialList {
    /// Records a denial in a list of at most `max` clients.
    pub(super) fn record(&mut self, denial: &Denial<'_>, max: usize, now: Timestamp) {
        self.remove_expired(now);
        let (reason, network) = (denial.reason, ClientNetwork::of(denial.peer));
        if let Some(entry) = self.clients.get_mut(&(reason, network)) {
            self.by_last[reason.index()].remove(&(entry.last, network));
            entry.repeat(denial, now);
        } else {
            if self.clients.len() >= max {
                self.make_room();
            }
            let entry = Entry::new(denial, now);
            self.clients.insert((reason, network), entry);
        }
        self.by_last[reason.index()].insert((now, network));
    }

    /// Returns the clients at `now`.
    pub(super) fn clients(&mut self, now: Timestamp) -> impl Iterator<Item = (Key, &Entry)> {
        self.remove_expired(now);
        self.clients.iter().map(|(key, entry)| (*key, entry))
    }

    /// Returns the number of clients for each reason at `now`, in the order of [`DenialReason::ALL`].
    pub(super) fn counts(&mut self, now: Timestamp) -> [usize; DenialReason::ALL.len()] {
        self.remove_expired(now);
        self.by_last.each_ref().map(BTreeSet::len)
    }

    fn make_room(&mut self) {
        let reasons = DenialReason::ALL.into_iter().zip(&mut self.by_last);
        let most = reasons.max_by_key(|(_, clients)| clients.len());
        if let Some((reason, clients)) = most
            && let Some((_, network)) = clients.pop_first()
        {
            self.clients.remove(&(reason, network));
        }
    }

    fn remove_expired(&mut self, now: Timestamp) {
        for (reason, clients) in DenialReason::ALL.into_iter().zip(&mut self.by_last) {
            while let Some((last, _)) = clients.first()
                && now.duration_since(*last) > MAX_SILENCE
                && let Some((_, network)) = clients.pop_first()
            {
                self.clients.remove(&(reason, network));
            }
        }
    }
}

// === impl Entry ===

impl Entry {
    fn new(denial: &Denial<'_>, now: Timestamp) -> Self {
        Entry {
            peer: denial.peer,
            id: denial.id.cloned(),
            detail: denial.detail.map(bounded),
            first: now,
            last: now,
            times: 1,
        }
    }

    fn repeat(&mut self, denial: &Denial<'_>, now: Timestamp) {
        self.peer = denial.peer;
        if let Some(id) = denial.id {
            self.id = Some(id.clone());
        }
        self.detail = denial.detail.map(bounded);
        self.last = now;
        self.times += 1;
    }
}

/// Returns at most [`MAX_DETAIL`] bytes of a text.
pub(super) fn bounded(text: &str) -> Box<str> {
    const ELLIPSIS: &str = "…";
    if text.len() <= MAX_DETAIL {
        return text.into();
    }
    let end = text.floor_char_boundary(MAX_DETAIL - ELLIPSIS.len());
    format!("{}{ELLIPSIS}", &text[..end]).into()
}

#[cfg(test)]
impl DenialList {
    /// Returns the number of clients, after checking that both orders contain the same ones.
    pub(super) fn size(&self) -> usize {
        for ((reason, network), entry) in &self.clients {
            assert!(self.by_last[reason.index()].contains(&(entry.last, *network)));
        }
        let counted: usize = self.by_last.iter().map(BTreeSet::len).sum();
        assert_eq!(counted, self.clients.len());
        counted
    }
}
