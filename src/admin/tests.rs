//! Orders on a store that others use too, and that does not always answer.

use super::*;
use crate::act::Action;
use crate::store::Value;
use crate::store::faulty::{Fault, FaultyStore};
use crate::store::memory::MemoryStore;

fn group() -> GroupName {
    GroupName::new("default").unwrap()
}

async fn order(store: &dyn Store, order: Order) -> Result<Done, NotDone> {
    carry_out(store, &group(), 2, &order, "root@ops").await
}

async fn known(store: &dyn Store) -> Known {
    Known::new(store.read(&group()).await.unwrap(), 2)
}

fn lock(id: &str) -> Order {
    Order::Lock {
        id: id.parse().unwrap(),
    }
}

#[tokio::test]
async fn an_order_says_what_was_and_what_is_and_leaves_a_note() {
    let store = MemoryStore::default();
    let done = order(&store, lock("a")).await.unwrap();
    assert_eq!(done.before.holders.len(), 0);
    assert_eq!(done.after.holders.len(), 1);
    order(&store, Order::Pause).await.unwrap();
    let known = known(&store).await;
    let acts: Vec<_> = known.acts.iter().map(|act| act.action.clone()).collect();
    assert_eq!(acts, [Action::Lock { id: "a".into() }, Action::Pause]);
    assert_eq!(&*known.acts[0].by, "root@ops");
}

#[tokio::test]
async fn invariant_6_an_order_whose_answer_was_lost_is_carried_out_once() {
    for fault in [Fault::AnswerLost, Fault::RequestLost] {
        let store = FaultyStore::new();
        store.next(&[fault]);
        let slots = Order::SetSlots { slots: 5 };
        let done = order(&*store, slots).await.unwrap();
        assert_eq!((done.before.slots, done.after.slots), (2, 5), "{fault:?}");
        assert_eq!(known(&*store).await.acts.len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn invariant_6_an_order_that_may_have_happened_is_never_called_not_done() {
    let unlock = || Order::Unlock { id: "a".into() };
    let store = FaultyStore::new();
    order(&*store, lock("a")).await.unwrap();
    store.next(&[Fault::Rejected]);
    let answer = order(&*store, unlock()).await;
    assert!(matches!(answer, Err(NotDone::Unavailable(_))), "{answer:?}");
    store.next(&[Fault::RequestLost, Fault::Rejected]);
    let answer = order(&*store, unlock()).await;
    assert!(matches!(answer, Err(NotDone::Unknown(_))), "{answer:?}");

    // Done, not answered, and then an original Airlock wrote, which keeps no acts.
    store.next(&[Fault::AnswerLost]);
    let (answer, ()) = tokio::join!(order(&*store, unlock()), async {
        while known(&*store)
            .await
            .semaphore
            .unwrap()
            .holders
            .contains_key("a")
        {
            tokio::task::yield_now().await;
        }
        store.memory.overwrite(
            &group(),
            Some(Value {
                semaphore: br#"{"total_slots":2,"holders":[]}"#.to_vec(),
                lock_times: None,
            }),
        );
    });
    assert!(matches!(answer, Err(NotDone::Unknown(_))), "{answer:?}");
}

#[tokio::test]
async fn many_orders_at_once_are_all_carried_out() {
    let store = Arc::new(MemoryStore::default());
    let orders = (0..20).map(|node| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let lock = lock(&node.to_string());
            carry_out(&*store, &group(), 20, &lock, "root@ops")
                .await
                .unwrap();
        })
    });
    for order in orders.collect::<Vec<_>>() {
        order.await.unwrap();
    }
    assert_eq!(known(&*store).await.semaphore.unwrap().holders.len(), 20);
}

#[tokio::test]
async fn a_damaged_value_is_left_alone() {
    let store = MemoryStore::default();
    let damaged = Value {
        semaphore: b"{".to_vec(),
        lock_times: None,
    };
    store.overwrite(&group(), Some(damaged.clone()));
    assert!(matches!(
        order(&store, Order::Pause).await,
        Err(NotDone::Damaged(_))
    ));
    assert_eq!(store.read(&group()).await.unwrap().value, Some(damaged));
}
