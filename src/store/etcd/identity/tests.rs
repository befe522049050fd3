use super::*;
use crate::logging::{logged, warnings};

const ONE: ClusterId = ClusterId(1);
const TWO: ClusterId = ClusterId(2);

fn foreign(found: ClusterId, expected: ClusterId, configured: bool) -> Foreign {
    Foreign {
        found,
        expected,
        configured,
    }
}

fn settle(identity: &Identity, endpoints: usize) {
    assert!(identity.settle(endpoints, identity.generation()));
}

#[test]
fn the_first_cluster_is_used_for_good() {
    let identity = Identity::new(None);
    assert_eq!(identity.settled(), Settled::No);
    settle(&identity, 2);
    assert_eq!(identity.settled(), Settled::No);
    assert_eq!(identity.record("a", ONE), Ok(()));
    settle(&identity, 2);
    assert_eq!(identity.settled(), Settled::Yes);
    assert_eq!(identity.record("b", TWO), Err(foreign(TWO, ONE, false)));
    assert_eq!(identity.record("a", TWO), Err(foreign(TWO, ONE, false)));
    assert_eq!(identity.notices().len(), 2);
    assert_eq!(identity.record("a", ONE), Ok(()));
    assert_eq!(identity.notices().len(), 1);
}

#[test]
fn a_cluster_that_goes_back_is_logged_but_not_again_and_again() {
    let identity = Identity::new(None);
    let record = |before, found| warnings(|| identity.record_revision(before, found));
    assert_eq!(record(0, 5), 0);
    // The replies to two calls at the same time come in any order.
    assert_eq!(record(5, 8), 0);
    assert_eq!(record(5, 7), 0);
    assert_eq!(identity.latest_revision(), 8);
    assert_eq!(record(8, 3), 1);
    assert_eq!(identity.latest_revision(), 3);
    assert_eq!(record(8, 4), 0);
    assert_eq!(identity.latest_revision(), 3);
    assert_eq!(record(3, 2), 0);
    assert_eq!(identity.latest_revision(), 2);
    identity.state.lock().gone_back = Instant::now().checked_sub(GONE_BACK_INTERVAL);
    assert_eq!(record(2, 1), 1);
}

#[test]
fn the_revision_of_another_cluster_is_not_an_earlier_one() {
    let identity = Identity::new(None);
    let reconsider = |id| {
        identity.reconsider();
        let _ = identity.record("a", id);
        settle(&identity, 1);
    };
    identity.record("a", ONE).unwrap();
    settle(&identity, 1);
    identity.record_revision(0, 9);
    reconsider(ONE);
    assert_eq!(identity.latest_revision(), 9);
    reconsider(TWO);
    assert_eq!(identity.latest_revision(), 0);
    // A call that began before.
    assert_eq!(warnings(|| identity.record_revision(9, 5)), 0);
}

#[test]
fn two_clusters_at_the_start_are_a_split_until_all_endpoints_agree() {
    let identity = Identity::new(None);
    assert_eq!(identity.record("a", ONE), Ok(()));
    assert_eq!(identity.record("b", TWO), Ok(()));
    settle(&identity, 2);
    let split = |replied: &[(&str, ClusterId)]| {
        let replied = replied.iter().map(|(url, id)| ((*url).to_owned(), *id));
        Settled::Split(replied.collect())
    };
    assert_eq!(identity.settled(), split(&[("a", ONE), ("b", TWO)]));
    for reply in [None, Some(TWO), Some(ONE)] {
        identity.reconsider();
        assert_eq!(identity.settled(), Settled::No);
        if let Some(id) = reply {
            assert_eq!(identity.record("b", id), Ok(()));
        }
        assert_eq!(warnings(|| settle(&identity, 2)), 1);
        let replied: Vec<_> = reply.map(|id| ("b", id)).into_iter().collect();
        assert_eq!(identity.settled(), split(&replied));
    }
    identity.reconsider();
    assert_eq!(identity.record("a", TWO), Ok(()));
    assert_eq!(identity.record("b", TWO), Ok(()));
    let accepted = "the etcd cluster 2 is used from now on";
    assert_eq!(logged(|| settle(&identity, 2)), [accepted]);
    assert_eq!(identity.settled(), Settled::Yes);
}

#[test]
fn an_operator_can_have_the_decision_made_again() {
    let identity = Identity::new(None);
    identity.record("a", ONE).unwrap();
    settle(&identity, 1);
    assert_eq!(identity.generation(), 0);
    identity.reconsider();
    assert_eq!(identity.settled(), Settled::No);
    assert_eq!(identity.generation(), 1);
    // Until the decision is made, the other cluster is not used.
    assert_eq!(identity.record("a", TWO), Err(foreign(TWO, ONE, false)));
    assert_eq!(warnings(|| settle(&identity, 1)), 1);
    assert_eq!(identity.record("a", TWO), Ok(()));
    identity.reconsider();
    assert_eq!(identity.record("a", TWO), Ok(()));
    assert_eq!(warnings(|| settle(&identity, 1)), 0);
}

#[test]
fn a_cluster_is_not_given_up_while_an_endpoint_is_silent_or_belongs_to_it() {
    let identity = Identity::new(None);
    identity.record("a", ONE).unwrap();
    settle(&identity, 2);
    for seen in [&[("b", TWO)][..], &[("a", ONE), ("b", TWO)]] {
        identity.reconsider();
        for (url, id) in seen {
            let _ = identity.record(url, *id);
        }
        // Otherwise the reload would look like a success.
        assert_eq!(warnings(|| settle(&identity, 2)), 1);
        assert_eq!(identity.settled(), Settled::Yes);
        assert_eq!(identity.record("b", TWO), Err(foreign(TWO, ONE, false)));
    }
}

#[test]
fn a_reload_without_a_reply_says_that_it_accepted_nothing() {
    let identity = Identity::new(None);
    identity.record("a", ONE).unwrap();
    assert_eq!(warnings(|| settle(&identity, 2)), 0);
    identity.reconsider();
    assert_eq!(warnings(|| settle(&identity, 2)), 1);
    // A part of the cluster that is used needs no warning.
    identity.reconsider();
    identity.record("a", ONE).unwrap();
    assert_eq!(warnings(|| settle(&identity, 2)), 0);
}

#[test]
fn nothing_is_decided_while_an_operator_accepts_another_cluster() {
    let identity = Identity::new(None);
    identity.record("a", ONE).unwrap();
    let generation = identity.generation();
    identity.reconsider();
    identity.record("b", TWO).unwrap();
    assert!(!identity.settle(2, generation));
    assert_eq!(identity.settled(), Settled::No);
    identity.record("a", ONE).unwrap();
    settle(&identity, 2);
    assert!(matches!(identity.settled(), Settled::Split(_)));
}

#[test]
fn a_configured_cluster_needs_no_decision_and_cannot_be_replaced() {
    let identity = Identity::new(Some(ONE));
    assert_eq!(identity.settled(), Settled::Yes);
    identity.reconsider();
    assert_eq!(identity.settled(), Settled::Yes);
    assert_eq!(identity.record("a", TWO), Err(foreign(TWO, ONE, true)));
    assert_eq!(identity.record("b", ONE), Ok(()));
    // An endpoint of another cluster remains one until it replies otherwise.
    identity.reconsider();
    assert_eq!(identity.notices().len(), 1);
}
