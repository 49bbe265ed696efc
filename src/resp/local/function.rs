//! FUNCTION: there are no functions, so there is nothing to list or to flush.

use crate::resp::codec::reply::Encoder;
use crate::resp::commands::ErrorLine;
use crate::resp::local::client::write_help;
use crate::resp::local::subcommand::Subcommand;

/// FUNCTION FLUSH|LIST|HELP.
pub(super) fn function_command(sub: &Subcommand<'_>, encoder: &mut Encoder<'_>) -> Result<(), ErrorLine> {
    let is_word = |word: &str| sub.slice(0).eq_ignore_ascii_case(word.as_bytes());
    if sub.is("flush") {
        match sub.count() {
            0 => {}
            1 if is_word("async") || is_word("sync") => {}
            1 => return Err(ErrorLine::fixed("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")),
            _ => return Err(sub.unknown_or_arity()),
        }
        encoder.simple("OK");
    } else if sub.is("list") {
        encoder.array(0);
    } else if sub.is("help") {
        sub.exactly(0)?;
        write_help(&HELP, encoder);
    } else {
        return Err(sub.unknown());
    }
    Ok(())
}

const HELP: [&str; 5] = [
    "FUNCTION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "FLUSH [ASYNC|SYNC], LIST",
    "    There are no functions: nothing is flushed, the list is empty.",
    "HELP",
    "    Print this help.",
];
