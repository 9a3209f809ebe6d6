//! How a command ends when it does not succeed: one message and one exit code.

use std::fmt;
use std::process::ExitCode;

/// A command that did not succeed. The message says what happened and, where it can, what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The server could not start, or had to stop.
    Run,
    /// What the user gave is not right: arguments, configuration, a ciphertext.
    Input,
}

impl Failure {
    /// The server could not start, or had to stop: exit code 1.
    pub(crate) fn run(message: impl fmt::Display) -> Self {
        Self { kind: Kind::Run, message: message.to_string() }
    }

    /// What the user gave is not right: exit code 2, as for a command line that is not understood.
    pub(crate) fn input(message: impl fmt::Display) -> Self {
        Self { kind: Kind::Input, message: message.to_string() }
    }

    /// The code the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self.kind {
            Kind::Run => ExitCode::from(1),
            Kind::Input => ExitCode::from(2),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
