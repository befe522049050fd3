//! Orders on a store that others use too, and that does not always answer.

use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::act::Action;
use crate::store::memory::MemoryStore;
use crate::store::{Report, Revision, Stored, Value};

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

/// A store that loses one answer to a write, which happened or not.
struct Forgetful {
    inner: MemoryStore,
    loses: Mutex<Option<bool>>,
}

#[async_trait]
impl Store for Forgetful {
    async fn read(&self, group: &GroupName) -> Result<Stored, StoreError> {
        self.inner.read(group).await
    }

    async fn commit(
        &self,
        group: &GroupName,
        expected: Revision,
        new: Option<&Value>,
    ) -> Result<Commit, StoreError> {
        let loses = self.loses.lock().unwrap().take();
        if loses != Some(false) {
            let result = self.inner.commit(group, expected, new).await;
            if loses.is_none() {
                return result;
            }
        }
        Err(StoreError::Unknown("no answer".into()))
    }

    async fn follow(&self, groups: &[GroupName], report: &mut Report<'_>) -> StoreError {
        self.inner.follow(groups, report).await
    }

    fn place(&self, group: &GroupName) -> String {
        self.inner.place(group)
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
    for happened in [true, false] {
        let store = Forgetful {
            inner: MemoryStore::default(),
            loses: Mutex::new(Some(happened)),
        };
        let done = order(&store, Order::SetSlots { slots: 5 }).await.unwrap();
        assert_eq!((done.before.slots, done.after.slots), (2, 5), "{happened}");
        assert_eq!(known(&store).await.acts.len(), 1, "{happened}");
    }
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
