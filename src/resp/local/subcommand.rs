//! A container command and the words behind it.

use crate::limits::PATTERN_BYTES_MAX;
use crate::resp::codec::arguments::Arguments;
use crate::resp::commands::ErrorLine;

/// Words of a container command: `CLIENT SETNAME x`.
pub(super) struct Subcommand<'a> {
    /// The container, in lower case.
    parent: &'static str,
    arguments: Arguments<'a>,
}

impl<'a> Subcommand<'a> {
    /// True if the subcommand has that name.
    pub(super) fn is(&self, name: &str) -> bool {
        self.arguments.slice(1).eq_ignore_ascii_case(name.as_bytes())
    }

    /// Number of arguments behind the subcommand.
    pub(super) fn count(&self) -> usize {
        self.arguments.len() - 2
    }

    /// The n-th argument behind the subcommand.
    pub(super) fn slice(&self, position: usize) -> &'a [u8] {
        self.arguments.slice(position + 2)
    }

    /// The n-th argument behind the subcommand, as a pattern of names.
    pub(super) fn pattern(&self, position: usize) -> Result<&'a [u8], ErrorLine> {
        let pattern = self.slice(position);
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(ErrorLine::made(format!("ERR a pattern may have {PATTERN_BYTES_MAX} bytes")));
        }
        Ok(pattern)
    }

    /// The number of arguments behind the subcommand must be `count`.
    pub(super) fn exactly(&self, count: usize) -> Result<(), ErrorLine> {
        if self.count() == count { Ok(()) } else { Err(self.arity()) }
    }

    pub(super) fn arity(&self) -> ErrorLine {
        let name = String::from_utf8_lossy(self.arguments.slice(1)).to_ascii_lowercase();
        ErrorLine::arity(&format!("{}|{name}", self.parent))
    }

    /// What Redis says of FUNCTION FLUSH with too many words.
    pub(super) fn unknown_or_arity(&self) -> ErrorLine {
        let given = String::from_utf8_lossy(self.arguments.slice(1));
        let parent = self.parent.to_ascii_uppercase();
        let words = format!("ERR unknown subcommand or wrong number of arguments for '{given}'. Try {parent} HELP.");
        ErrorLine::made(words)
    }

    pub(super) fn unknown(&self) -> ErrorLine {
        ErrorLine::subcommand(self.parent, self.arguments.slice(1))
    }
}

pub(super) fn subcommand<'a>(parent: &'static str, arguments: Arguments<'a>) -> Subcommand<'a> {
    Subcommand { parent, arguments }
}
