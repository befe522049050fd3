//! The connection of one participant to the simulated store: delays, losses, late and duplicate deliveries.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fastrand::Rng;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{self, Instant};

use super::plan::{Fault, Plan, millis, rng};
use super::world::World;
use crate::lock::GroupName;
use crate::lock::codec::{Stored, Value};
use crate::store::{
    CommitOutcome, Location, Member, OwnedMember, Report, Store, StoreError, Update,
};

/// The store as one participant reaches it.
pub(super) struct Link {
    world: Arc<World>,
    name: String,
    plan: Plan,
    /// The longest regular delay of a message in milliseconds.
    latency: u64,
    rng: Mutex<Rng>,
}

/// The course of one call, drawn at its start.
struct Course {
    fault: Option<Fault>,
    /// The delays of the request and of the reply.
    delays: [Duration; 2],
    /// The time at which the caller stops waiting.
    give_up: Duration,
    /// The delay of a late request after that, and of a duplicate after the first one.
    late: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("injected: {0}")]
struct Injected(&'static str);

// === impl Link ===

impl Link {
    pub(super) fn new(world: &Arc<World>, plan: &Plan, name: &str) -> Arc<Self> {
        let mut rng = rng(plan.seed, name);
        let latency = [2, 2, 8, 40][rng.usize(..4)];
        Arc::new(Link {
            world: Arc::clone(world),
            name: name.into(),
            plan: plan.clone(),
            latency,
            rng: Mutex::new(rng),
        })
    }

    fn course(&self, writes: bool) -> Course {
        let mut rng = self.rng.lock();
        let fault = self.plan.faults.next(&mut rng, writes);
        let delays = [(); 2].map(|()| millis(&mut rng, 0..self.latency));
        let timeout = self.plan.call_timeout;
        // A broken connection is noticed at once, silence only after the timeout.
        let give_up = match rng.bool() {
            true => timeout,
            false => millis(&mut rng, 1..60).min(timeout),
        };
        let late = millis(&mut rng, 0..4000);
        Course {
            fault: fault.filter(|_| !self.world.is_calm()),
            delays,
            give_up,
            late,
        }
    }

    /// Makes one call: delivers the request, which has `effect` on the store, and the reply.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        call: &str,
        writes: bool,
        effect: impl Fn(&World) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let course = self.course(writes);
        if let Some(fault) = course.fault {
            let event = format!("{}: {call} meets {fault:?}", self.name);
            self.world.trace.record(&event);
        }
        let result = self.run(&course, effect).await;
        if let Err(error) = &result {
            self.world
                .trace
                .record(&format!("{}: {call}: {error}", self.name));
        }
        result
    }

    async fn run<T: Send + 'static>(
        &self,
        course: &Course,
        effect: impl Fn(&World) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let refusal = match course.fault {
            Some(Fault::Unreachable) => StoreError::unreachable(Injected("no route")),
            Some(Fault::Rejected) => StoreError::rejected(Injected("rejected")),
            Some(Fault::NoSpace | Fault::NoSpaceApplied) => {
                StoreError::no_space(Injected("no space"))
            }
            Some(Fault::RequestLost) => {
                time::sleep(course.give_up).await;
                return Err(StoreError::unknown(Injected("request lost")));
            }
            Some(Fault::ReplyLost | Fault::Late) => {
                let reply = self.deliver(course, effect);
                // The reply is lost, or later than this.
                drop(time::timeout(course.give_up, reply).await);
                return Err(StoreError::unknown(Injected("reply lost")));
            }
            None | Some(Fault::Duplicate) => {
                let reply = self.deliver(course, effect);
                return match time::timeout(self.plan.call_timeout, reply).await {
                    Ok(Ok(result)) => Ok(result),
                    Ok(Err(_)) => Err(StoreError::unknown(Injected("connection lost"))),
                    Err(_) => Err(StoreError::unknown(Injected("timeout"))),
                };
            }
        };
        let epoch = self.world.epoch();
        time::sleep(course.delays[0]).await;
        // No write is on its way any more when the store reports a want of space.
        if course.fault == Some(Fault::NoSpaceApplied) && self.world.epoch() == epoch {
            effect(&self.world);
        }
        Err(refusal)
    }

    /// Delivers the request as often as it arrives, whether or not its caller still waits.
    fn deliver<T: Send + 'static>(
        &self,
        course: &Course,
        effect: impl Fn(&World) -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        let (fault, [before, after], late) = (course.fault, course.delays, course.late);
        let before = match fault {
            Some(Fault::Late) => course.give_up + late,
            _ => before,
        };
        let world = Arc::clone(&self.world);
        let epoch = world.epoch();
        tokio::spawn(async move {
            time::sleep(before).await;
            // The store was restored, which has broken the connection.
            if world.epoch() != epoch {
                return;
            }
            let result = effect(&world);
            time::sleep(after).await;
            if fault == Some(Fault::ReplyLost) {
                std::future::pending::<()>().await;
            }
            if world.epoch() == epoch {
                let _ = sender.send(result);
            }
            if fault == Some(Fault::Duplicate) {
                time::sleep(late).await;
                if world.epoch() == epoch {
                    effect(&world);
                }
            }
        });
        receiver
    }
}

#[async_trait]
impl Store for Link {
    async fn read(&self, group: &GroupName) -> Result<Stored, StoreError> {
        let group = group.clone();
        self.call("read", false, move |world| world.stored(&group))
            .await
    }

    async fn commit(
        &self,
        group: &GroupName,
        expected: &Stored,
        new: Option<&Value>,
        also: &[Member<'_>],
    ) -> Result<CommitOutcome, StoreError> {
        let (name, group) = (self.name.clone(), group.clone());
        let (expected, new) = (expected.clone(), new.cloned());
        let also = match self.plan.compares_members {
            true => also.iter().map(Member::owned).collect(),
            false => Vec::new(),
        };
        let call = if new.is_some() { "write" } else { "confirm" };
        self.call(call, new.is_some(), move |world| {
            let also: Vec<_> = also.iter().map(OwnedMember::borrowed).collect();
            world.commit(&name, &group, &expected, new.as_ref(), &also)
        })
        .await
    }

    async fn check_writable(&self, _: &GroupName) -> Result<(), StoreError> {
        Ok(())
    }

    fn location(&self, group: &GroupName) -> Location {
        Location {
            description: format!("group {group} in the simulated store"),
            repair_command: String::new(),
        }
    }

    async fn watch(&self, groups: &[GroupName], report: &mut Report<'_>) -> StoreError {
        let (fails, refused, lifetime, lag) = {
            let mut rng = self.rng.lock();
            let fails = rng.f64() < self.plan.faults.watches && !self.world.is_calm();
            let lag = [1, 20, 2000][rng.usize(..3)];
            (fails, rng.u8(..8) == 0, millis(&mut rng, 0..20_000), lag)
        };
        time::sleep(Duration::from_millis(self.latency)).await;
        if fails && refused {
            return StoreError::rejected(Injected("watch refused"));
        }
        let ends = Instant::now() + lifetime;
        let (current, mut changes) = self.world.watch(groups);
        time::sleep(Duration::from_millis(self.latency)).await;
        for (group, stored) in groups.iter().zip(current) {
            report(group, Update::Current(stored));
        }
        loop {
            let change = tokio::select! {
                biased;
                () = time::sleep_until(ends), if fails => None,
                change = changes.recv() => change,
            };
            let Some((written, group, stored)) = change else {
                self.world
                    .trace
                    .record(&format!("{}: watch ends", self.name));
                return StoreError::unreachable(Injected("watch ended"));
            };
            let late = millis(&mut self.rng.lock(), 0..lag);
            time::sleep_until(written + late).await;
            report(&group, Update::Change(stored));
        }
    }
}
