//! The arguments of a command as COMMAND DOCS shows them, made from the line that the table has.
//!
//! ```text
//! key             a value; its type follows from its name
//! NX              a token
//! EX seconds      a token and its value, or its values
//! [a b]           optional
//! <a | b>         one of; so is [a | b]
//! key [key ...]   the same again, any number of times
//! [a b ...]       optional, any number of times
//! ```

/// What one argument is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DocKind {
    /// A value of that type.
    Value(&'static str),
    /// The word itself.
    Token,
    /// These, one after another.
    Block(Vec<DocArgument>),
    /// One of these.
    OneOf(Vec<DocArgument>),
}

/// One argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DocArgument {
    /// In lower case.
    pub(crate) name: String,
    pub(crate) kind: DocKind,
    /// The word in front of it.
    pub(crate) token: Option<&'static str>,
    pub(crate) is_optional: bool,
    pub(crate) is_multiple: bool,
}

/// The arguments in a line of the table.
///
/// # Panics
/// If the line is not as drawn above: a test reads them all.
pub(crate) fn arguments(line: &'static str) -> Vec<DocArgument> {
    let words = line.split(' ').flat_map(split_brackets).filter(|word| !word.is_empty()).collect::<Vec<_>>();
    let mut reader = SyntaxReader { words: &words };
    let Alternatives { mut ways, is_multiple } = reader.alternatives();
    assert!(ways.len() == 1 && !is_multiple && reader.words.is_empty(), "one sequence of arguments: {line}");
    ways.remove(0)
}

/// The brackets of a word, and the word.
fn split_brackets(word: &'static str) -> Vec<&'static str> {
    let inner = word.trim_start_matches(['[', '<']);
    let (front, rest) = word.split_at(word.len() - inner.len());
    let bare = rest.trim_end_matches([']', '>']);
    let back = &rest[bare.len()..];
    let each = |brackets: &'static str| (0..brackets.len()).map(move |at| &brackets[at..=at]);
    each(front).chain([bare]).chain(each(back)).collect()
}

struct SyntaxReader<'w> {
    words: &'w [&'static str],
}

/// What stands between two brackets.
struct Alternatives {
    ways: Vec<Vec<DocArgument>>,
    /// It ends with dots.
    is_multiple: bool,
}

impl SyntaxReader<'_> {
    fn next(&mut self) -> Option<&'static str> {
        let (word, rest) = self.words.split_first()?;
        self.words = rest;
        Some(word)
    }

    fn alternatives(&mut self) -> Alternatives {
        let (mut ways, mut is_multiple) = (vec![Vec::new()], false);
        while let Some(word) = self.next() {
            let way = ways.last_mut().expect("there is one from the beginning");
            match word {
                "]" | ">" => break,
                "|" => ways.push(Vec::new()),
                "..." => is_multiple = true,
                "[" | "<" => {
                    let inner = self.alternatives();
                    add_group(way, inner, word == "[");
                }
                word if is_token(word) => way.push(self.with_token(word)),
                word => way.push(value(word)),
            }
        }
        Alternatives { ways, is_multiple }
    }

    /// A token with the values that follow it.
    fn with_token(&mut self, token: &'static str) -> DocArgument {
        let mut values = Vec::new();
        while let Some(word) =
            self.words.first().filter(|word| word.starts_with(|letter: char| letter.is_ascii_lowercase()))
        {
            values.push(value(word));
            self.words = &self.words[1..];
        }
        let (name, kind) = match values.len() {
            0 => (token.to_ascii_lowercase(), DocKind::Token),
            1 => {
                let value = values.remove(0);
                (value.name, value.kind)
            }
            _ => (token.to_ascii_lowercase(), DocKind::Block(values)),
        };
        DocArgument { name, kind, token: Some(token), is_optional: false, is_multiple: false }
    }
}

/// Adds what stands in brackets. Where it repeats what is in front of it, that is what may stand there more than once.
fn add_group(before: &mut Vec<DocArgument>, group: Alternatives, is_optional: bool) {
    let Alternatives { mut ways, is_multiple } = group;
    if let [way] = &ways[..]
        && is_multiple
        && before.ends_with(way)
    {
        let repeated = before.split_off(before.len() - way.len());
        before.push(DocArgument { is_multiple: true, ..joined(repeated) });
        return;
    }
    let argument = if ways.len() == 1 {
        joined(ways.remove(0))
    } else {
        let ways: Vec<DocArgument> = ways.into_iter().map(joined).collect();
        let name = ways[0].name.clone();
        DocArgument { name, kind: DocKind::OneOf(ways), token: None, is_optional, is_multiple }
    };
    before.push(DocArgument { is_optional, is_multiple: is_multiple || argument.is_multiple, ..argument });
}

/// Several arguments as one.
fn joined(mut arguments: Vec<DocArgument>) -> DocArgument {
    if arguments.len() == 1 {
        return arguments.remove(0);
    }
    let name = arguments.first().expect("brackets are not empty").name.clone();
    DocArgument { name, kind: DocKind::Block(arguments), token: None, is_optional: false, is_multiple: false }
}

fn value(name: &'static str) -> DocArgument {
    let kind = DocKind::Value(type_of(name));
    DocArgument { name: name.to_owned(), kind, token: None, is_optional: false, is_multiple: false }
}

fn type_of(name: &str) -> &'static str {
    match name {
        "key" | "key1" | "key2" | "newkey" | "source" | "destination" | "destkey" => "key",
        "pattern" => "pattern",
        "unix-time-seconds" | "unix-time-milliseconds" => "unix-time",
        "seconds" | "milliseconds" | "increment" | "decrement" | "offset" | "start" | "end" | "count" | "cursor"
        | "ttl" | "len" | "bit" | "index" | "db" | "destination-db" | "protover" | "numreplicas" | "timeout"
        | "frequency" => "integer",
        _ => "string",
    }
}

fn is_token(word: &str) -> bool {
    word.starts_with(|letter: char| letter.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::commands::COMMANDS;

    /// The line again, in one form.
    fn shown(arguments: &[DocArgument]) -> String {
        let one = |argument: &DocArgument| {
            let inner = match &argument.kind {
                DocKind::Value(_) => argument.name.clone(),
                DocKind::Token => String::new(),
                DocKind::Block(parts) => shown(parts),
                DocKind::OneOf(ways) => {
                    ways.iter().map(|way| shown(std::slice::from_ref(way))).collect::<Vec<_>>().join(" | ")
                }
            };
            let inner = [argument.token.unwrap_or(""), &inner].join(" ").trim().to_owned();
            match (argument.is_optional, argument.is_multiple, &argument.kind) {
                (true, true, _) => format!("[{inner} ...]"),
                (true, false, _) => format!("[{inner}]"),
                (false, true, _) => format!("{inner} [{inner} ...]"),
                (false, false, DocKind::OneOf(_)) => format!("<{inner}>"),
                (false, false, _) => inner,
            }
        };
        arguments.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_line_of_the_table_is_read_and_shown_again() {
        for command in COMMANDS {
            let line = command.docs.syntax;
            let found = if line.is_empty() { Vec::new() } else { arguments(line) };
            assert_eq!(shown(&found), line, "{}", command.name);
        }
    }

    #[test]
    fn a_pair_that_is_repeated_is_one_argument() {
        let found = arguments("key value [key value ...]");
        assert_eq!(found.len(), 1);
        assert!(found[0].is_multiple && !found[0].is_optional);
        assert!(matches!(&found[0].kind, DocKind::Block(parts) if parts.len() == 2));
    }
}
