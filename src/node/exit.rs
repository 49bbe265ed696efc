//! Why a node ends, as a number that a supervisor can act on (sysexits.h).

use std::process::ExitCode;

use crate::codec::CodecError;
use crate::fsm::state::StateError;
use crate::keys::identity::IdentityError;
use crate::keys::kek::KekError;
use crate::keys::ring::InstallError;
use crate::keys::ring::KeyLack;
use crate::node::agree::Disagreement;
use crate::node::datadir::DataDirError;

/// The exit statuses other than 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// EX_IOERR: damage, or a device that fails. Starting again will not mend it.
    Damage = 74,
    /// EX_CONFIG: keys or settings. The operator's to mend; nothing is broken.
    Config = 78,
}

impl ExitStatus {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> ExitCode {
        ExitCode::from(status.code())
    }
}

/// An error that can end the process knows its status.
pub trait Fatal: std::error::Error {
    /// 74 or 78.
    fn exit_status(&self) -> ExitStatus;

    /// The one line that is shown: the error and its causes, separated by colons.
    fn line(&self) -> String
    where
        Self: Sized,
    {
        chain(self)
    }
}

/// An error and its causes in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        line.push_str(": ");
        line.push_str(&error.to_string());
        source = error.source();
    }
    line.replace('\n', " ")
}

impl Fatal for KekError {
    fn exit_status(&self) -> ExitStatus {
        ExitStatus::Config
    }
}

impl Fatal for KeyLack {
    fn exit_status(&self) -> ExitStatus {
        if self.is_damage() { ExitStatus::Damage } else { ExitStatus::Config }
    }
}

impl Fatal for InstallError {
    fn exit_status(&self) -> ExitStatus {
        match self {
            InstallError::OtherCluster { .. } | InstallError::OtherCutover { .. } => ExitStatus::Config,
            InstallError::Key(_) => ExitStatus::Damage,
        }
    }
}

impl Fatal for IdentityError {
    fn exit_status(&self) -> ExitStatus {
        match self {
            IdentityError::Damaged(_) | IdentityError::Unauthentic { .. } => ExitStatus::Damage,
            IdentityError::Format { .. }
            | IdentityError::KekMissing { .. }
            | IdentityError::OtherKek { .. }
            | IdentityError::KekForClear => ExitStatus::Config,
        }
    }
}

impl Fatal for StateError {
    fn exit_status(&self) -> ExitStatus {
        match self {
            StateError::Malformed(CodecError::Version { .. }) => ExitStatus::Config,
            StateError::Malformed(_) | StateError::Keyring { .. } | StateError::Unauthentic => ExitStatus::Damage,
        }
    }
}

impl Fatal for Disagreement {
    fn exit_status(&self) -> ExitStatus {
        match self {
            Disagreement::OtherCluster { .. } | Disagreement::Cutover { .. } => ExitStatus::Config,
            Disagreement::StateBehindLog { .. }
            | Disagreement::StateAheadOfLog { .. }
            | Disagreement::OtherHistory { .. } => ExitStatus::Damage,
        }
    }
}

impl Fatal for DataDirError {
    fn exit_status(&self) -> ExitStatus {
        match self {
            DataDirError::Unusable { .. }
            | DataDirError::NotADirectory { .. }
            | DataDirError::Locked { .. }
            | DataDirError::Foreign { .. } => ExitStatus::Config,
            DataDirError::Identity { source, .. } => source.exit_status(),
            DataDirError::WithoutIdentity { .. }
            | DataDirError::Missing { .. }
            | DataDirError::NotAFile { .. }
            | DataDirError::Io { .. } => ExitStatus::Damage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_the_ones_of_sysexits() {
        assert_eq!((ExitStatus::Damage.code(), ExitStatus::Config.code()), (74, 78));
    }

    #[test]
    fn a_chain_is_one_line_from_the_error_to_its_last_cause() {
        let source = std::io::Error::other("last\ncause");
        let error = KekError::Open { path: "/k".into(), source };
        assert_eq!(error.line(), "KEK file /k cannot be opened: last cause");
    }
}
