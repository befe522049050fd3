//! `[lock]`, `[[lock.groups]]` and `[[lock.caps]]`.

use super::policies::{FreezeSection, GateSection, WindowSection};
use super::section::{
    Applies, Kind, Rule, Section, defaults_to, read_each, required, section, without_it,
};
use crate::config::diagnostic::{Diagnostics, Located};
use crate::config::field::{Field, NumberRange};
use crate::config::toml::Table;

/// The maximum depends on the store.
const SLOTS: NumberRange = NumberRange {
    min: 1,
    max: u64::MAX,
    instead_of_zero: Some("to stop all reboots of a group, use `airlock pause GROUP`"),
};
/// The maximum is a week. In a group, 0 means no limit.
const STALL_MINUTES: NumberRange = NumberRange {
    min: 1,
    max: 7 * 24 * 60,
    instead_of_zero: Some("to grant locks however long a node holds one, remove this key"),
};
/// The maximum is a day. In a group, 0 means no time.
const SETTLE_MINUTES: NumberRange = NumberRange {
    min: 1,
    max: 24 * 60,
    instead_of_zero: Some("to grant locks right after a release, remove this key"),
};
/// The maximum of what a cap allows. The number of its groups limits it further.
const CAP: NumberRange = NumberRange {
    min: 1,
    max: u64::MAX,
    instead_of_zero: Some("to stop all reboots of a group, use `airlock pause GROUP`"),
};

section! {
    /// The default group, which always exists, and what applies to groups that do not set it themselves.
    LockSection, Reload => {
        /// Name of the default group.
        default_group_name: Text = defaults_to("\"default\"").example("\"all\"").original(),
        /// Slots of the default group, and of groups without `slots`: the number of nodes that may be down at the same
        /// time. At most 12000 with etcd. The server writes the number to the store when a group is used for the first
        /// time; from then on, [the number in the store](operations.md#apply-a-changed-number-of-slots) takes precedence.
        default_slots: Integer(SLOTS) = defaults_to("1").example("2").original(),
        /// Users that may lock and unlock in groups without `users`. Needs `service.htpasswd_path`.
        default_users: Texts = without_it("all users").example("[\"node\"]"),
        /// What the server does about a group with another number of slots in the store. `"warn"` logs a warning every
        /// minute. `"update"` writes the slots of the file to the store at the start and on a reload, except for a paused
        /// group.
        on_slots_mismatch: Choice(&["warn", "update"]) = defaults_to("\"warn\"").example("\"update\""),
        /// Minutes after which a holder [stops new grants](operations.md#stop-when-a-node-does-not-come-back) in its
        /// group.
        stall_after_minutes: Integer(STALL_MINUTES) = without_it("no limit").example("60"),
        /// Minutes from a release to [the next grant](operations.md#wait-between-reboots) in the same group.
        settle_minutes: Integer(SETTLE_MINUTES) = without_it("no time").example("5"),
        /// [Reboot windows](operations.md#restrict-reboots-to-windows) of groups without `windows`.
        windows: Tables(WindowSection) = without_it("always open"),
        /// [Freezes](operations.md#forbid-reboots-during-a-freeze) of groups without `freezes`.
        freezes: Tables(FreezeSection) = without_it("none"),
        /// [Gates](reference.md#gates) of groups without `gates`.
        gates: Tables(GateSection) = without_it("none"),
        /// Further groups.
        groups: Tables(GroupSection) = without_it("only the default group").original(),
        /// [Limits that several groups share](operations.md#limit-several-groups-together).
        caps: Tables(CapSection) = without_it("none"),
    }
}

section! {
    /// A group beside the default group, or policies and users for the default group.
    GroupSection, Reload => {
        /// Name of the group, as in the configuration of its nodes. Zincati accepts letters, digits, `.`, and `-`.
        name: Text = required().example("\"workers\"").original(),
        /// Slots of the group. Those of the default group are set with `lock.default_slots`.
        slots: Integer(SLOTS) = without_it("`lock.default_slots`").example("2").original(),
        /// Users that may lock and unlock in the group. Needs `service.htpasswd_path`.
        users: Texts = without_it("`lock.default_users`").example("[\"worker\"]"),
        /// As in `[lock]`; 0 stands for no limit.
        stall_after_minutes: Integer(STALL_MINUTES.or_zero()) = without_it("`lock.stall_after_minutes`")
            .example("120"),
        /// As in `[lock]`; 0 stands for no time.
        settle_minutes: Integer(SETTLE_MINUTES.or_zero()) = without_it("`lock.settle_minutes`").example("30"),
        /// Reboot windows of the group, instead of those of `[[lock.windows]]`. `[]` stands for none: always open.
        windows: Tables(WindowSection) = without_it("`[[lock.windows]]`"),
        /// Freezes of the group, instead of those of `[[lock.freezes]]`. `[]` stands for none.
        freezes: Tables(FreezeSection) = without_it("`[[lock.freezes]]`"),
        /// Gates of the group, instead of those of `[[lock.gates]]`. `[]` stands for none.
        gates: Tables(GateSection) = without_it("`[[lock.gates]]`"),
    }
}

section! {
    /// A cap: a [limit that several groups share](operations.md#limit-several-groups-together).
    CapSection, Reload, Rule::AtLeastOne(["max_held", "max_groups"]) => {
        /// Name of the cap, of at most 100 bytes, which metrics and responses contain.
        name: Text = required().example("\"database\""),
        /// Groups that share the limit, at least two.
        groups: Texts = required().example("[\"db-a\", \"db-b\", \"db-c\"]"),
        /// Number of slots that nodes of all groups together may hold.
        max_held: Integer(CAP) = without_it("no limit").example("1"),
        /// Number of groups that may have holders at the same time.
        max_groups: Integer(CAP) = without_it("no limit").example("1"),
    }
}
