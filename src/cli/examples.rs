//! The examples of the help and of the manual pages.

/// A command line, and its purpose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Example {
    pub(super) purpose: &'static str,
    pub(super) line: &'static str,
}

const fn example(purpose: &'static str, line: &'static str) -> Example {
    Example { purpose, line }
}

/// The examples of each command, by its name. The first ones are those of the program.
pub(super) const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "",
        &[
            example(
                "Try a server without any configuration",
                "airlock serve --dev",
            ),
            example("Find out why nodes are not updating", "airlock status"),
            example(
                "Release the slot of a node that does not come back",
                "airlock unlock workers 2204af7f41984cb19b8cde4edc06c142",
            ),
        ],
    ),
    (
        "serve",
        &[
            example(
                "Run the server with a configuration, and log each grant",
                "airlock serve -v -c /etc/airlock/config.toml",
            ),
            example(
                "Try a server without any configuration; it keeps nothing",
                "airlock serve --dev",
            ),
        ],
    ),
    (
        "check-config",
        &[
            example(
                "Check a new configuration before the server uses it",
                "airlock check-config -c /etc/airlock/config.toml.new",
            ),
            example(
                "Check it in a pipeline, where a warning is an error as well",
                "airlock check-config --strict --json -c airlock.toml",
            ),
            example(
                "Check that a server could work with the store and the gates now",
                "airlock check-config --online",
            ),
        ],
    ),
    (
        "healthcheck",
        &[example(
            "Check the server, as a container does",
            "airlock healthcheck",
        )],
    ),
    (
        "status",
        &[
            example("Find out why nodes are not updating", "airlock status"),
            example(
                "Find out why the nodes of a group are not, and follow the state",
                "airlock status workers --watch",
            ),
            example("Find out why one node is not", "airlock status 10.0.4.17"),
        ],
    ),
    (
        "get slots",
        &[
            example("List all holders", "airlock get slots"),
            example(
                "List those of one group for a program",
                "airlock get slots workers --json",
            ),
        ],
    ),
    (
        "get gates",
        &[
            example(
                "Find out which gates are closed, and why",
                "airlock get gates",
            ),
            example("Ask one of them", "airlock get gates alerts"),
        ],
    ),
    (
        "history",
        &[
            example(
                "Print what has happened since yesterday",
                "airlock history --since 24h",
            ),
            example(
                "Print when a node has rebooted",
                "airlock history workers --node db-worker-7",
            ),
        ],
    ),
    (
        "lock",
        &[example(
            "Keep a slot for a machine that you are about to reboot by hand",
            "airlock lock workers 2204af7f41984cb19b8cde4edc06c142",
        )],
    ),
    (
        "unlock",
        &[
            example(
                "Release the slot of a node that does not come back",
                "airlock unlock workers 2204af7f41984cb19b8cde4edc06c142",
            ),
            example(
                "See which holders are older than two hours; with --yes, unlock them",
                "airlock unlock workers --held-longer-than 2h --dry-run",
            ),
        ],
    ),
    (
        "set slots",
        &[example(
            "Let three nodes reboot at once",
            "airlock set slots workers 3",
        )],
    ),
    (
        "pause",
        &[example(
            "Let no further node of a group reboot during an incident",
            "airlock pause workers",
        )],
    ),
    (
        "resume",
        &[example(
            "Let the nodes of a group reboot again",
            "airlock resume workers",
        )],
    ),
    (
        "override",
        &[
            example(
                "Roll out an urgent update outside the reboot windows",
                "airlock override workers --for 2h",
            ),
            example("End that earlier", "airlock override workers --end"),
        ],
    ),
    (
        "watch",
        &[
            example("Print changes as they happen", "airlock watch"),
            example(
                "Give those of one group to a program",
                "airlock watch workers --json",
            ),
        ],
    ),
    (
        "backup",
        &[example(
            "Save the embedded store",
            "airlock backup /var/backups/airlock.db",
        )],
    ),
    (
        "restore",
        &[
            example(
                "See what a backup would change",
                "airlock restore /var/backups/airlock.db --dry-run",
            ),
            example(
                "Put it back, and grant nothing before the nodes are checked",
                "airlock restore /var/backups/airlock.db --pause",
            ),
        ],
    ),
    (
        "client pre-reboot",
        &[
            example(
                "Ask once",
                "airlock client pre-reboot --url http://127.0.0.1:3333/",
            ),
            example(
                "Wait for a slot, and reboot then",
                "airlock client pre-reboot --url https://airlock.example.org/ --wait && systemctl reboot",
            ),
        ],
    ),
    (
        "client steady-state",
        &[example(
            "Release the slot after the reboot, and repeat the request until a server confirms it",
            "airlock client steady-state --url https://airlock.example.org/ --group workers --wait",
        )],
    ),
    (
        "id",
        &[
            example("Print the id of this machine", "airlock id"),
            example(
                "Print that of another one",
                "airlock id dfd7882acda64c34aca76193c46f5d4e",
            ),
            example(
                "Write the file of names from lines MACHINE-ID NAME",
                "airlock id - > node-names.txt",
            ),
        ],
    ),
    (
        "ex get slots",
        &[example(
            "Print the slots as coreos/airlock does",
            "airlock ex get slots",
        )],
    ),
    (
        "completions",
        &[
            example(
                "Complete commands in this shell",
                "source <(airlock completions bash)",
            ),
            example(
                "Complete them in every bash",
                "airlock completions bash > /etc/bash_completion.d/airlock",
            ),
        ],
    ),
    (
        "version",
        &[
            example("Print the version", "airlock version"),
            example("Print it for a program", "airlock version --json"),
        ],
    ),
];
