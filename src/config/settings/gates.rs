//! The lists `[[lock.gates]]` and `[[lock.groups.gates]]`: a gate may be in several of them.

use std::sync::Arc;

use super::gate::{self, GateSettings};
use crate::config::diagnostic::{Diagnostics, Located};
use crate::config::field::Field;
use crate::config::schema::GateSection;

/// The maximum number of gates. Each of them is asked every 30 s.
const MAX_GATES: usize = 64;

/// A gate, and its place in the configuration.
#[derive(Clone, Debug)]
pub(crate) struct ConfiguredGate {
    /// The full name of its table, such as `lock.groups[0].gates[1]`.
    pub(crate) table: String,
    /// Its settings.
    pub(crate) settings: Arc<GateSettings>,
}

/// All gates of the file, each of them once.
#[derive(Default)]
pub(super) struct Catalog {
    /// Each with the line of its table.
    gates: Vec<(Option<usize>, ConfiguredGate)>,
}

// === impl Catalog ===

impl Catalog {
    /// Returns the gates of one list; `None` if the key is absent, which is not the same as `gates = []`.
    pub(super) fn check(
        &mut self,
        diagnostics: &mut Diagnostics,
        field: Field<Vec<Located<GateSection>>>,
    ) -> Option<Vec<Arc<GateSettings>>> {
        let mut list: Vec<Arc<GateSettings>> = Vec::new();
        for table in field.present()?.value {
            let place = table.with(());
            let Some(gate) = gate::checked(diagnostics, table) else {
                continue;
            };
            if list.iter().any(|other| other.name == gate.name) {
                let text = format!(
                    "gate \"{}\" is in the list twice; remove or rename one of the two",
                    gate.name
                );
                diagnostics.error(&place.missing("name"), text);
            } else if let Some(gate) = self.add(diagnostics, &place, gate) {
                list.push(gate);
            }
        }
        Some(list)
    }

    /// Adds a gate, unless another list has the same one. Returns `None` if that one differs, or there are too many.
    fn add(
        &mut self,
        diagnostics: &mut Diagnostics,
        place: &Located<()>,
        gate: GateSettings,
    ) -> Option<Arc<GateSettings>> {
        let same_name = |known: &&(_, ConfiguredGate)| known.1.settings.name == gate.name;
        if let Some((line, known)) = self.gates.iter().find(same_name) {
            if *known.settings == gate {
                return Some(Arc::clone(&known.settings));
            }
            let text = format!(
                "gate \"{}\" differs from the one of the same name on line {}; rename one of them, since a name stands \
                 for one gate, or give both the same keys to share it",
                gate.name,
                line.unwrap_or_default()
            );
            diagnostics.error(&place.missing("name"), text);
            return None;
        }
        if self.gates.len() == MAX_GATES {
            let text = format!(
                "the file has more than {MAX_GATES} gates; combine some of them, or share those that are the same \
                 under one name"
            );
            diagnostics.error(place, text);
            return None;
        }
        let settings = Arc::new(gate);
        let gate = ConfiguredGate {
            table: place.key.clone(),
            settings: Arc::clone(&settings),
        };
        self.gates.push((place.line, gate));
        Some(settings)
    }

    /// Returns all gates, in the order of the file.
    pub(super) fn into_gates(self) -> Vec<ConfiguredGate> {
        self.gates.into_iter().map(|(_, gate)| gate).collect()
    }
}
