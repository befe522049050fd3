use std::net::Ipv4Addr;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::list::MAX_DETAIL;
use super::*;
use crate::lock::NodeId;
use crate::network::ClientNetwork;
use DenialReason::{NotFound, TlsHandshake, UnknownGroup, WrongPassword};

fn minute(minute: i64) -> Timestamp {
    Timestamp::from_second(minute * 60).unwrap()
}

fn address(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(10 << 24 | number).into()
}

fn denial(reason: DenialReason, peer: IpAddr) -> Denial<'static> {
    Denial {
        reason,
        peer,
        group: None,
        id: None,
        detail: None,
    }
}

/// Returns the record of a server with these groups.
fn denials(groups: &[&str]) -> Denials {
    let denials = Denials::default();
    set_groups(&denials, groups);
    denials
}

fn set_groups(denials: &Denials, groups: &[&str]) {
    let names: Vec<GroupName> = groups
        .iter()
        .filter_map(|name| GroupName::new(name))
        .collect();
    denials.set_groups(&names);
}

fn count(denials: &Denials, reason: DenialReason, now: Timestamp) -> usize {
    denials.counts(now)[reason.index()].1
}

#[test]
fn a_client_is_listed_from_its_first_to_15_minutes_after_its_last_denial() {
    let denials = denials(&["workers"]);
    let id: NodeId = "a".parse().unwrap();
    let first = Denial {
        group: Some("workers"),
        id: Some(&id),
        detail: Some("first"),
        ..denial(WrongPassword, address(1))
    };
    denials.record(&first, minute(0));
    let second = Denial {
        id: None,
        detail: None,
        ..first
    };
    denials.record(&second, minute(5));
    let expected = DeniedClient {
        reason: WrongPassword,
        peer: address(1),
        group: Some("workers".into()),
        id: Some("a".into()),
        detail: None,
        first: minute(0),
        last: minute(5),
        times: 2,
    };
    assert_eq!(denials.list(minute(20), 10), [expected]);
    assert_eq!(count(&denials, WrongPassword, minute(20)), 1);
    assert_eq!(denials.list(minute(21), 10), []);
    assert_eq!(count(&denials, WrongPassword, minute(21)), 0);
    denials.record(&first, minute(22));
    assert_eq!(denials.list(minute(22), 10)[0].times, 1);
}

#[test]
fn clients_of_one_ipv6_network_count_as_one_and_a_client_counts_for_each_reason() {
    let denials = denials(&[]);
    let record = |reason, peer: &str, at| {
        denials.record(&denial(reason, peer.parse().unwrap()), minute(at));
    };
    record(WrongPassword, "2001:db8::1", 0);
    record(WrongPassword, "2001:db8:0:1::1", 1);
    record(NotFound, "2001:db8::3", 2);
    record(WrongPassword, "2001:db8::2", 3);
    let all = denials.list(minute(3), 10);
    let listed: Vec<String> = all
        .iter()
        .map(|client| format!("{:?} {} {}", client.reason, client.peer, client.times))
        .collect();
    assert_eq!(
        listed,
        [
            "WrongPassword 2001:db8::2 2",
            "NotFound 2001:db8::3 1",
            "WrongPassword 2001:db8:0:1::1 1"
        ]
    );
    assert_eq!(count(&denials, WrongPassword, minute(3)), 2);
    assert_eq!(denials.list(minute(3), 2), all[..2]);
}

#[test]
fn a_group_that_a_reload_removes_takes_its_clients_along() {
    let denials = denials(&["kept", "removed"]);
    for group in ["kept", "removed", "never configured"] {
        let denial = Denial {
            group: Some(group),
            ..denial(WrongPassword, address(1))
        };
        denials.record(&denial, minute(0));
    }
    let groups = |denials: &Denials| -> Vec<Option<String>> {
        let listed = denials.list(minute(0), 10).into_iter();
        listed.map(|client| client.group).collect()
    };
    let [kept, removed] = ["kept", "removed"].map(|name| Some(name.to_owned()));
    assert_eq!(groups(&denials), [None, kept.clone(), removed]);
    set_groups(&denials, &["added", "kept"]);
    assert_eq!(groups(&denials), [None, kept]);
}

#[test]
fn an_unknown_group_is_quoted_with_the_configured_one_that_it_most_likely_stands_for() {
    let denials = denials(&["workers", "default"]);
    let long = "\u{7f}".repeat(253);
    let names = ["worker", "Default", "a\n", &long];
    for (name, number) in names.into_iter().zip(0..) {
        let denial = Denial {
            group: Some(name),
            detail: Some(name),
            ..denial(UnknownGroup, address(number))
        };
        denials.record(&denial, minute(0));
    }
    let listed = denials.list(minute(0), 10).into_iter();
    let details: Vec<String> = listed.filter_map(|client| client.detail).collect();
    assert_eq!(details[0], r#""worker"; did you mean "workers"?"#);
    assert_eq!(details[1], r#""Default"; did you mean "default"?"#);
    assert_eq!(details[2], r#""a\n""#);
    assert!(details[3].len() <= MAX_DETAIL, "{}", details[3]);
    assert!(details[3].ends_with("\\x7f…"), "{}", details[3]);
}

#[test]
fn invariant_8_a_flood_is_bounded_in_clients_and_in_bytes() {
    let denials = denials(&["default"]);
    let detail = "é".repeat(1000);
    let id: NodeId = "n".repeat(NodeId::MAX_BYTES).parse().unwrap();
    for number in 0..10_000 {
        for group in [None, Some("default")] {
            let denial = Denial {
                group,
                id: Some(&id),
                detail: Some(&detail),
                ..denial(TlsHandshake, address(number))
            };
            denials.record(&denial, minute(0));
        }
    }
    let most = MAX_OF_SERVER + MAX_OF_GROUP;
    assert_eq!(count(&denials, TlsHandshake, minute(0)), most);
    let listed = denials.list(minute(0), usize::MAX);
    assert_eq!(listed.len(), most);
    let longest = listed.iter().filter_map(|client| client.detail.as_ref());
    let longest = longest.map(String::len).max();
    assert_eq!(longest, Some(MAX_DETAIL - 1), "whole characters");
    for list in denials.lists.lock().all() {
        assert!(list.1.size() <= MAX_OF_SERVER);
    }
}

#[test]
fn a_scan_from_many_addresses_hides_no_client_that_is_rejected_for_another_reason() {
    let denials = denials(&[]);
    for number in 0..10 {
        denials.record(&denial(WrongPassword, address(number)), minute(0));
    }
    for number in 0..10_000 {
        let reason = [NotFound, TlsHandshake][number as usize % 2];
        denials.record(&denial(reason, address(number)), minute(1));
    }
    assert_eq!(count(&denials, WrongPassword, minute(1)), 10);
}

/// The list as it is specified, at the cost of a scan for each denial.
#[derive(Default)]
struct Model(Vec<(Key, Entry)>);

impl Model {
    fn record(&mut self, denial: &Denial<'_>, max: usize, now: Timestamp) {
        self.expire(now);
        let key = (denial.reason, ClientNetwork::of(denial.peer));
        if let Some((_, entry)) = self.0.iter_mut().find(|(known, _)| *known == key) {
            *entry = Entry {
                peer: denial.peer,
                id: denial.id.or(entry.id.as_ref()).cloned(),
                detail: denial.detail.map(Into::into),
                first: entry.first,
                last: now,
                times: entry.times + 1,
            };
            return;
        }
        if self.0.len() >= max {
            let victim = self.victim();
            self.0.retain(|(known, _)| *known != victim);
        }
        let entry = Entry {
            peer: denial.peer,
            id: denial.id.cloned(),
            detail: denial.detail.map(Into::into),
            first: now,
            last: now,
            times: 1,
        };
        self.0.push((key, entry));
    }

    /// Returns the longest silent client of the reason with the most clients.
    fn victim(&self) -> Key {
        let size = |reason: &DenialReason| self.of(*reason).count();
        let most = DenialReason::ALL.into_iter().max_by_key(size).unwrap();
        let longest = self.of(most).min_by_key(|(key, entry)| (entry.last, *key));
        longest.unwrap().0
    }

    fn of(&self, reason: DenialReason) -> impl Iterator<Item = &(Key, Entry)> {
        let clients = self.0.iter();
        clients.filter(move |((known, _), _)| *known == reason)
    }

    fn expire(&mut self, now: Timestamp) {
        let silence = |entry: &Entry| now.duration_since(entry.last);
        self.0
            .retain(|(_, entry)| silence(entry) <= SignedDuration::from_mins(15));
    }
}

proptest! {
    #[test]
    fn the_list_is_that_of_a_list_that_is_scanned_for_each_denial(
        max in 1..6_usize,
        steps in prop::collection::vec((-1..9_i64, 0..3_usize, 0..6_u32, 0..3_u8), 0..100),
    ) {
        let mut list = DenialList::default();
        let mut model = Model::default();
        let mut now = 0;
        for (minutes, reason, peer, number) in steps {
            // The clock may be set back.
            now += minutes;
            let id = (number > 0).then(|| number.to_string().parse().unwrap());
            let detail = (number > 1).then_some("detail");
            let denial = Denial {
                id: id.as_ref(),
                detail,
                ..denial(DenialReason::ALL[reason], address(peer))
            };
            list.record(&denial, max, minute(now));
            model.record(&denial, max, minute(now));
            prop_assert_eq!(list.size(), model.0.len());
            let mut expected: Vec<_> = model.0.iter().map(|(key, entry)| (*key, entry)).collect();
            expected.sort_by_key(|(key, _)| *key);
            let mut found: Vec<_> = list.clients(minute(now)).collect();
            found.sort_by_key(|(key, _)| *key);
            prop_assert_eq!(found, expected);
            for (reason, count) in DenialReason::ALL.into_iter().zip(list.counts(minute(now))) {
                prop_assert_eq!(count, model.of(reason).count());
            }
        }
    }
}
