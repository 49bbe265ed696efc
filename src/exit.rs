//! How the process ends: who must act, the exit status that tells a supervisor so, and the one line that is logged.
//!
//! | status | when |
//! | --- | --- |
//! | 0 | a signal ended the node |
//! | 74, 78 | an error ended it: see [`Blame`] |
//! | 75 | [`START_AGAIN_STATUS`] |
//! | 134 | a panic: the process aborts (SIGABRT) |
//! | 143 | [`SECOND_SIGNAL_STATUS`] |

use std::error::Error;
use std::process::ExitCode;

/// Who must act before a process that ended with an error can run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Blame {
    /// Bytes are damaged or a device fails (`EX_IOERR` of sysexits.h): starting again does not help.
    Damage = 74,
    /// Keys or settings are wrong (`EX_CONFIG`): the operator gives others, nothing is broken.
    Config = 78,
}

impl Blame {
    /// The exit status.
    #[must_use]
    pub fn status(self) -> u8 {
        self as u8
    }
}

impl From<Blame> for ExitCode {
    fn from(blame: Blame) -> ExitCode {
        ExitCode::from(blame.status())
    }
}

/// An error and its causes in one line, separated by colons.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        line.push_str(": ");
        line.push_str(&error.to_string());
        source = error.source();
    }
    line.replace('\n', " ")
}

/// Exit status of a node that must be started again to install a snapshot, and cannot do so itself: EX_TEMPFAIL.
pub const START_AGAIN_STATUS: u8 = 75;
/// The second SIGTERM or SIGINT ends the process at once: 128 + SIGTERM, as a shell reports it.
pub const SECOND_SIGNAL_STATUS: i32 = 143;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_the_ones_of_sysexits() {
        assert_eq!((Blame::Damage.status(), Blame::Config.status()), (74, 78));
    }

    #[test]
    fn a_chain_is_one_line_from_the_error_to_its_last_cause() {
        #[derive(Debug, thiserror::Error)]
        #[error("KEK file {path} cannot be opened")]
        struct Outer {
            path: &'static str,
            source: std::io::Error,
        }
        let error = Outer { path: "/k", source: std::io::Error::other("last\ncause") };
        assert_eq!(chain(&error), "KEK file /k cannot be opened: last cause");
    }
}
