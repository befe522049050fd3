//! The choice of faults. It depends on the seed only.

use std::collections::HashMap;

use super::faults::Fault;
use airlock_test_support::etcd::Version;

/// The faults of a run.
pub(crate) struct Schedule {
    pub(crate) random: fastrand::Rng,
    combinations: HashMap<&'static str, Vec<Vec<Fault>>>,
}

/// The maximum of faults at the same time.
const MOST: usize = 3;

// === impl Schedule ===

impl Schedule {
    /// Deals every fault to one of the versions on which its histories are decidable, in combinations.
    pub(crate) fn new(seed: u64, versions: &[Version]) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut faults = Fault::ALL;
        random.shuffle(&mut faults);
        let mut dealt: Vec<(Version, Vec<Fault>)> = Vec::new();
        for fault in faults {
            let fits = |(version, others): &&mut (Version, Vec<Fault>)| {
                fault.is_decidable_on(*version)
                    && others.len() < MOST
                    && others.iter().all(|other| fault.fits(*other))
            };
            if let Some((_, others)) = dealt.iter_mut().find(fits) {
                others.push(fault);
                continue;
            }
            let usable: Vec<Version> = versions
                .iter()
                .copied()
                .filter(|version| fault.is_decidable_on(*version))
                .collect();
            let version = random.choice(usable);
            dealt.push((version.expect("a version without the bug"), vec![fault]));
        }
        let mut combinations: HashMap<&'static str, Vec<Vec<Fault>>> = HashMap::new();
        for (version, faults) in dealt {
            combinations.entry(version.name()).or_default().push(faults);
        }
        Schedule {
            random,
            combinations,
        }
    }

    /// Returns the combinations that are dealt to a version.
    pub(crate) fn all_of(&mut self, version: Version) -> Vec<Vec<Fault>> {
        self.combinations.remove(version.name()).unwrap_or_default()
    }

    /// Chooses two or three faults by their weights.
    pub(crate) fn some_for(&mut self, version: Version) -> Vec<Fault> {
        let weighted: Vec<Fault> = Fault::ALL
            .into_iter()
            .filter(|fault| fault.is_decidable_on(version))
            .flat_map(|fault| std::iter::repeat_n(fault, fault.weight()))
            .collect();
        let count = self.random.usize(2..=MOST);
        let mut chosen: Vec<Fault> = Vec::new();
        while chosen.len() < count {
            let fault = weighted[self.random.usize(..weighted.len())];
            if chosen.iter().all(|other| fault.fits(*other)) {
                chosen.push(fault);
            }
        }
        chosen
    }
}
