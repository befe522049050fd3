//! The command line: the commands of coreos/airlock, and those of Airlock. One file for each command.

mod apply;
mod args;
mod backup;
mod check_config;
mod client;
mod color;
mod completion;
mod context;
mod dev;
mod environment;
mod error;
mod ex_get_slots;
mod examples;
mod gates;
mod get_gates;
mod get_slots;
mod healthcheck;
mod help;
mod history;
mod id;
mod lock;
mod man;
mod moment;
mod needs;
mod nodes;
mod output;
mod override_policies;
mod overview;
mod pause;
mod preflight;
mod restore;
mod resume;
mod serve;
mod set_slots;
mod status;
mod store_file;
mod unlock;
mod usage;
mod version;
mod watch;

use std::io::ErrorKind;
use std::process::ExitCode;

use crate::config::{self, Loaded};
use crate::logging;
use crate::server::arena;
use args::{Cli, CliCommand, Ex, ExGet, Get, Set};
use context::StoreContext;
use error::CliError;
use needs::Needs;
use output::print_raw;
use store_file::StoreFile;

/// Runs the command that the arguments of this process name, and returns its exit code.
pub fn run() -> ExitCode {
    if let Some(code) = completion::respond() {
        return code;
    }
    match usage::parse(std::env::args_os().collect()) {
        Ok(cli) => cli.run(),
        Err(error) => error.exit(),
    }
}

// === impl Cli ===

impl Cli {
    fn run(self) -> ExitCode {
        let is_server = matches!(self.command, CliCommand::Serve(_));
        let _log_guard = if is_server {
            arena::limit();
            let format = self.log_format.get().unwrap_or_else(|error| error.exit());
            match logging::init(self.verbose, format) {
                Ok(guard) => Some(guard),
                Err(error) => {
                    let error = CliError::Runtime(error);
                    output::print_error(&error, &self.config);
                    return ExitCode::from(error.exit_code());
                }
            }
        } else {
            output::print_events(self.verbose);
            None
        };
        match self.dispatch() {
            Ok(()) => ExitCode::SUCCESS,
            // The reader of stdout has closed it, and needs no more output.
            Err(CliError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => {
                ExitCode::SUCCESS
            }
            Err(error) => {
                if is_server {
                    output::log_error(&error, &self.config);
                } else {
                    output::print_error(&error, &self.config);
                }
                ExitCode::from(error.exit_code())
            }
        }
    }

    fn dispatch(&self) -> Result<(), CliError> {
        match &self.command {
            CliCommand::Serve(arguments) => serve::run(&self.config, arguments),
            CliCommand::CheckConfig(arguments) => {
                context::block_on(check_config::run(&self.config, arguments))
            }
            CliCommand::Healthcheck => {
                healthcheck::run(self.usable(Needs::Listeners)?, &self.config)
            }
            CliCommand::Get(Get::Slots(arguments)) => {
                self.with_context(Needs::Store, |context| get_slots::run(context, arguments))
            }
            CliCommand::Get(Get::Gates(arguments)) => {
                let settings = self.usable(Needs::Gates)?.settings;
                context::block_on(get_gates::run(&settings, &self.config, arguments))
            }
            CliCommand::Status(arguments) => {
                self.with_context(Needs::Store, |context| status::run(context, arguments))
            }
            CliCommand::History(arguments) => {
                self.with_context(Needs::Store, |context| history::run(context, arguments))
            }
            CliCommand::Lock(arguments) => {
                self.with_context(Needs::Groups, |context| lock::run(context, arguments))
            }
            CliCommand::Unlock(arguments) => {
                self.with_context(Needs::Store, |context| unlock::run(context, arguments))
            }
            CliCommand::Set(Set::Slots(arguments)) => {
                self.with_context(Needs::Groups, |context| set_slots::run(context, arguments))
            }
            CliCommand::Pause(arguments) => {
                self.with_context(Needs::Store, |context| pause::run(context, arguments))
            }
            CliCommand::Resume(arguments) => {
                self.with_context(Needs::Groups, |context| resume::run(context, arguments))
            }
            CliCommand::Override(arguments) => self.with_context(Needs::Groups, |context| {
                override_policies::run(context, arguments)
            }),
            CliCommand::Watch(arguments) => {
                self.with_context(Needs::Store, |context| watch::run(context, arguments))
            }
            CliCommand::Backup(arguments) => {
                let store = StoreFile::new(self.usable(Needs::Store)?, &self.config, "backup")?;
                backup::run(&store, arguments)
            }
            CliCommand::Restore(arguments) => {
                let store = StoreFile::new(self.usable(Needs::Groups)?, &self.config, "restore")?;
                restore::run(&store, arguments)
            }
            CliCommand::Id(arguments) => id::run(arguments),
            CliCommand::Client(client) => client.run(),
            CliCommand::Ex(Ex::Get(ExGet::Slots)) => {
                self.with_context(Needs::Groups, ex_get_slots::run)
            }
            CliCommand::Completions { shell } => {
                let script = completion::script(&shell.to_string());
                print_raw(script.unwrap_or_default())
            }
            CliCommand::Version(arguments) => version::run(arguments),
            CliCommand::Man { folder } => man::run(folder),
        }
    }

    /// Runs a command that works on the store.
    fn with_context<F>(
        &self,
        needs: Needs,
        command: impl FnOnce(StoreContext) -> F,
    ) -> Result<(), CliError>
    where
        F: Future<Output = Result<(), CliError>>,
    {
        context::block_on(async {
            let usable = needs::load(&self.config, needs).await?;
            command(StoreContext::open(usable, &self.config)?).await
        })
    }

    /// Loads the configuration for a command that does not connect to the store.
    fn usable(&self, needs: Needs) -> Result<Loaded, CliError> {
        Ok(needs::usable(config::check(&self.config), needs)?.loaded)
    }
}
