//! The plan of a run: its participants and faults, all drawn from the seed.

use std::time::Duration;

use fastrand::Rng;
use jiff::SignedDuration;

use crate::config::CapSettings;
use crate::lock::GroupName;
use crate::lock::policy::Cap;

/// The participants of a run, and the faults that they meet.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) servers: usize,
    pub(super) groups: usize,
    /// Nodes that ask as Zincati does.
    pub(super) polite: usize,
    /// Nodes that send any request at any time.
    pub(super) impolite: usize,
    pub(super) administrators: usize,
    pub(super) coreos_airlock: bool,
    pub(super) crashes: bool,
    pub(super) reloads: bool,
    pub(super) deletions: bool,
    pub(super) restores: bool,
    /// The time for which nodes and administrators ask.
    pub(super) duration: Duration,
    /// The time for which a server waits for one call to the store.
    pub(super) call_timeout: Duration,
    pub(super) faults: Faults,
    pub(super) policies: Policies,
    /// Whether a commit compares the groups that share a cap with its own. It does, except in the test that shows what
    /// happens otherwise.
    pub(super) compares_members: bool,
}

/// The policies of the groups. A second is one request: see `fleet::time_of`.
#[derive(Clone, Debug, Default)]
pub(super) struct Policies {
    pub(super) caps: Vec<CapSettings>,
    /// The number of groups that the caps need.
    groups: usize,
    pub(super) settle: Option<SignedDuration>,
    pub(super) stall_after: Option<SignedDuration>,
}

/// The probabilities of faults.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// For each call to the store.
    pub(super) calls: Vec<(Fault, f64)>,
    /// For each watch.
    pub(super) watches: f64,
}

/// A fault of one call to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The request never arrives; the outcome is unknown.
    RequestLost,
    /// The reply never arrives; the outcome is unknown.
    ReplyLost,
    /// The request arrives after its caller has given up; the outcome is unknown.
    Late,
    /// The request arrives twice.
    Duplicate,
    Unreachable,
    Rejected,
    /// A write has no effect for want of space.
    NoSpace,
    /// A write takes effect, and the store reports a want of space.
    NoSpaceApplied,
}

const FAULTS: [Fault; 8] = [
    Fault::RequestLost,
    Fault::ReplyLost,
    Fault::Late,
    Fault::Duplicate,
    Fault::Unreachable,
    Fault::Rejected,
    Fault::NoSpace,
    Fault::NoSpaceApplied,
];

// === impl Plan ===

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = rng(seed, "plan");
        let mut choice = |choices: &[usize]| choices[rng.usize(..choices.len())];
        let servers = choice(&[1, 1, 2, 2, 3]);
        let groups = choice(&[1, 1, 2]);
        let polite = choice(&[1, 2, 3, 4]);
        let impolite = choice(&[0, 1, 1, 2, 3]);
        let administrators = choice(&[0, 0, 1, 2]);
        let call_timeout = Duration::from_millis([300, 1000, 3000][choice(&[0, 1, 2])]);
        let duration = Duration::from_secs([15, 30, 45][choice(&[0, 1, 2])]);
        let policies = Policies::draw(seed);
        // A cap needs groups, and nodes in them.
        let (groups, polite, impolite) = match policies.groups {
            0 => (groups, polite, impolite),
            capped => (groups.max(capped), polite.max(3), impolite.max(2)),
        };
        Plan {
            seed,
            servers,
            groups,
            polite,
            impolite,
            administrators,
            coreos_airlock: rng.f64() < 0.3,
            crashes: rng.f64() < 0.4,
            reloads: rng.f64() < 0.3,
            deletions: rng.f64() < 0.15,
            restores: rng.f64() < 0.3,
            duration,
            call_timeout,
            faults: Faults::draw(&mut rng),
            policies,
            compares_members: true,
        }
    }

    /// Returns the names of the groups.
    pub(super) fn group_names(&self) -> Vec<GroupName> {
        (0..self.groups).filter_map(group_name).collect()
    }
}

fn group_name(index: usize) -> Option<GroupName> {
    GroupName::new(&format!("g{index}"))
}

// === impl Policies ===

impl Policies {
    /// Draws the policies of a seed, apart from the rest of the plan.
    fn draw(seed: u64) -> Self {
        let mut rng = rng(seed, "policies");
        let (mut caps, mut groups) = (Vec::new(), 0);
        for index in 0..[0, 0, 0, 1, 2][rng.usize(..5)] {
            // The second one has a group in common with the first one.
            let last = index + [1, 1, 2][rng.usize(..3)];
            caps.push(draw_cap(&mut rng, index, last));
            groups = groups.max(last + 1);
        }
        let mut duration = |seconds: [i64; 3]| {
            let seconds = seconds[rng.usize(..3)];
            (rng.f64() < 0.15).then_some(SignedDuration::from_secs(seconds))
        };
        Policies {
            caps,
            groups,
            settle: duration([2, 8, 25]),
            stall_after: duration([5, 20, 60]),
        }
    }

    /// Returns the caps to which a group belongs.
    pub(super) fn caps_of(&self, group: &GroupName) -> Vec<Cap> {
        let caps = self.caps.iter();
        caps.filter_map(|cap| cap.for_group(group)).collect()
    }
}

/// Draws a cap on the groups from `first` to `last`.
fn draw_cap(rng: &mut Rng, first: usize, last: usize) -> CapSettings {
    let max_held = [1, 1, 2, 3][rng.usize(..4)];
    let (max_held, max_groups) = match rng.u8(..4) {
        0 => (None, Some(1)),
        1 => (Some(max_held), Some(1)),
        _ => (Some(max_held), None),
    };
    CapSettings {
        name: format!("c{first}").into(),
        groups: (first..=last).filter_map(group_name).collect(),
        max_held,
        max_groups,
    }
}

// === impl Faults ===

impl Faults {
    /// Draws up to three kinds of faults, each rare or frequent.
    fn draw(rng: &mut Rng) -> Self {
        let kinds = rng.usize(0..=3);
        let calls = (0..kinds).map(|_| {
            let probability = [0.03, 0.1, 0.3][rng.usize(..3)];
            (FAULTS[rng.usize(..FAULTS.len())], probability)
        });
        Faults {
            calls: calls.collect(),
            watches: [0.0, 0.3, 0.8][rng.usize(..3)],
        }
    }

    /// Draws the fault of the next call, if it has one.
    pub(super) fn next(&self, rng: &mut Rng, writes: bool) -> Option<Fault> {
        let mut drawn = None;
        for (fault, probability) in &self.calls {
            let possible = match fault {
                Fault::NoSpace | Fault::NoSpaceApplied | Fault::Duplicate => writes,
                _ => true,
            };
            // Drawn even if it is not possible, so that a changed call does not shift all later draws.
            if rng.f64() < *probability && possible {
                drawn = Some(*fault);
            }
        }
        drawn
    }
}

/// Returns the random numbers of one participant.
pub(super) fn rng(seed: u64, participant: &str) -> Rng {
    let participant = participant
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let mut mixed = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ participant);
    mixed.fork()
}

/// Draws a duration in milliseconds.
pub(super) fn millis(rng: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}
