//! The options that a variable of the environment may set instead of the command line.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, Command, Error};

/// A parser of such an option. An empty variable counts as unset, and an error about the variable names it.
#[derive(Clone)]
pub(super) struct OrVariable<P> {
    parser: P,
    default: &'static str,
}

// === impl OrVariable ===

impl<P: TypedValueParser> OrVariable<P> {
    /// Creates the parser of an option that has the value `default` unless it is set.
    pub(super) fn new(parser: P, default: &'static str) -> Self {
        OrVariable { parser, default }
    }
}

impl<P: TypedValueParser> TypedValueParser for OrVariable<P> {
    type Value = P::Value;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, Error> {
        self.parser.parse_ref(command, argument, value)
    }

    fn parse_ref_(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<Self::Value, Error> {
        let is_variable = source == ValueSource::EnvVariable;
        let value = match is_variable && value.is_empty() {
            true => OsStr::new(self.default),
            false => value,
        };
        let parsed = self.parser.parse_ref(command, argument, value);
        parsed.map_err(|mut error| {
            let variable = argument.and_then(Arg::get_env).filter(|_| is_variable);
            if let Some(variable) = variable {
                let variable = variable.to_string_lossy().into_owned();
                error.insert(ContextKind::InvalidArg, ContextValue::String(variable));
            }
            error
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        self.parser.possible_values()
    }
}
