//! The options that a variable of the environment may set instead of the command line.

use std::env;
use std::ffi::OsStr;

use clap::builder::{EnumValueParser, PossibleValue, Resettable, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, Command, Error};

use crate::logging::Format;

/// Removes the empty variables from the options of a command and of those below it: they count as unset.
pub(super) fn without_empty(command: Command) -> Command {
    let is_empty = |name: &OsStr| env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|argument| match argument.get_env().is_some_and(is_empty) {
            true => argument.env(Resettable::Reset),
            false => argument,
        })
        .mut_subcommands(without_empty)
}

/// A parser of such an option. An error about the variable names it.
#[derive(Clone)]
pub(super) struct OrVariable<P>(pub(super) P);

/// The format of the server's log, or the message about a variable that names none. Only the server uses the format, so
/// such a variable of a container keeps no other command from running in it.
#[derive(Clone, Debug)]
pub(super) struct LogFormat(Result<Format, String>);

/// The parser of a [`LogFormat`].
#[derive(Clone)]
pub(super) struct LogFormatParser(OrVariable<EnumValueParser<Format>>);

// === impl LogFormat ===

impl LogFormat {
    /// Returns the format.
    ///
    /// # Errors
    /// If the variable names none.
    pub(super) fn get(&self) -> Result<Format, Error> {
        let error = |text: &String| Error::raw(ErrorKind::InvalidValue, text);
        self.0.as_ref().copied().map_err(error)
    }
}

// === impl LogFormatParser ===

impl Default for LogFormatParser {
    fn default() -> Self {
        LogFormatParser(OrVariable(EnumValueParser::new()))
    }
}

impl TypedValueParser for LogFormatParser {
    type Value = LogFormat;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<LogFormat, Error> {
        let format = self.0.parse_ref(command, argument, value)?;
        Ok(LogFormat(Ok(format)))
    }

    fn parse_ref_(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<LogFormat, Error> {
        match self.0.parse_ref_(command, argument, value, source) {
            Err(error) if source == ValueSource::EnvVariable => {
                let text = error.to_string();
                let text = text.strip_prefix("error: ").unwrap_or(&text);
                Ok(LogFormat(Err(text.to_owned())))
            }
            parsed => Ok(LogFormat(Ok(parsed?))),
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        self.0.possible_values()
    }
}

// === impl OrVariable ===

impl<P: TypedValueParser> TypedValueParser for OrVariable<P> {
    type Value = P::Value;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, Error> {
        self.0.parse_ref(command, argument, value)
    }

    fn parse_ref_(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<Self::Value, Error> {
        let parsed = self.0.parse_ref(command, argument, value);
        parsed.map_err(|mut error| {
            let variable = argument.and_then(Arg::get_env);
            if let Some(variable) = variable.filter(|_| source == ValueSource::EnvVariable) {
                let variable = variable.to_string_lossy().into_owned();
                error.insert(ContextKind::InvalidArg, ContextValue::String(variable));
            }
            error
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        self.0.possible_values()
    }
}
