//! Reads profiles in the format of pprof (gzipped protobuf): stacks with the number of their samples.
//!
//! Of the message `Profile` it needs: 2 samples (1 locations, innermost first; 2 values; 3 labels: 2 the thread), 4 locations (1 id, 4 lines: 1 function),
//! 5 functions (1 id, 2 name), 6 strings. Every other field is passed over.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::Command;
use std::process::Stdio;

/// The thread, then names from the outermost function to the innermost; and samples.
pub type Stacks = BTreeMap<Vec<String>, u64>;

/// The stacks of a gzipped profile, names as people write them.
pub fn stacks(gzipped: &[u8]) -> Result<Stacks, String> {
    parse(&gunzip(gzipped)?).map(readable).ok_or_else(|| "this is no profile of pprof".to_owned())
}

/// Names of C++ are mangled in a profile: c++filt, which comes with the compiler, reads them. Without it they stay.
fn readable(stacks: Stacks) -> Stacks {
    let mangled: BTreeSet<&String> = stacks.keys().flatten().filter(|name| name.starts_with("_Z")).collect();
    let list: Vec<&str> = mangled.iter().map(|name| name.as_str()).collect();
    let read = piped(Command::new("c++filt").arg("-p"), (list.join("\n") + "\n").into_bytes());
    let text = read.ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let names: BTreeMap<&str, &str> = list.into_iter().zip(text.lines()).collect();
    let name = |name: String| shortened(names.get(&name[..]).copied().unwrap_or(&name));
    let mut renamed = Stacks::new();
    for (stack, samples) in stacks.clone() {
        *renamed.entry(stack.into_iter().map(name).collect()).or_default() += samples;
    }
    renamed
}

/// Types in angle brackets can take lines: a long name keeps its begin and its end.
fn shortened(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= NAME_MAX {
        return name.to_owned();
    }
    let half = NAME_MAX / 2;
    letters[..half].iter().collect::<String>() + ".." + &letters[letters.len() - half..].iter().collect::<String>()
}

fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, String> {
    piped(Command::new("gzip").arg("-dc"), bytes.to_vec())
}

/// What a program makes of its standard input.
fn piped(command: &mut Command, input: Vec<u8>) -> Result<Vec<u8>, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|problem| format!("{name}: {problem}"))?;
    let mut pipe = child.stdin.take().expect("piped");
    let writer = std::thread::spawn(move || pipe.write_all(&input));
    let output = child.wait_with_output().map_err(|problem| format!("{name}: {problem}"))?;
    let is_written = writer.join().is_ok_and(|written| written.is_ok());
    if is_written && output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("{name} does not take the profile"))
    }
}

const NAME_MAX: usize = 90;

/// One field of a message.
enum Field<'m> {
    Number(u64),
    Bytes(&'m [u8]),
}

struct Fields<'m>(&'m [u8]);

impl<'m> Fields<'m> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn bytes(&mut self, len: usize) -> Option<&'m [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    /// The next field with its number; `None` at the end, an inner `None` where the message is broken.
    fn next(&mut self) -> Option<Option<(u64, Field<'m>)>> {
        if self.0.is_empty() {
            return None;
        }
        Some(self.field())
    }

    fn field(&mut self) -> Option<(u64, Field<'m>)> {
        let tag = self.number()?;
        let field = match tag & 7 {
            0 => Field::Number(self.number()?),
            1 => Field::Bytes(self.bytes(8)?),
            2 => {
                let len = usize::try_from(self.number()?).ok()?;
                Field::Bytes(self.bytes(len)?)
            }
            5 => Field::Bytes(self.bytes(4)?),
            _ => return None,
        };
        Some((tag >> 3, field))
    }
}

fn parse(message: &[u8]) -> Option<Stacks> {
    let (mut samples, mut functions_of, mut names_of, mut strings) =
        (Vec::new(), BTreeMap::new(), BTreeMap::new(), Vec::new());
    let mut fields = Fields(message);
    while let Some(field) = fields.next() {
        match field? {
            (2, Field::Bytes(sample)) => samples.push((numbers(sample, 1)?, numbers(sample, 2)?, label(sample)?)),
            (4, Field::Bytes(location)) => {
                let id = *numbers(location, 1)?.first()?;
                functions_of.insert(id, lines(location)?);
            }
            (5, Field::Bytes(function)) => {
                names_of.insert(*numbers(function, 1)?.first()?, *numbers(function, 2)?.first()?);
            }
            (6, Field::Bytes(text)) => strings.push(String::from_utf8_lossy(text).into_owned()),
            _ => {}
        }
    }
    let text = |at: Option<&u64>| -> String {
        let at = at.and_then(|at| usize::try_from(*at).ok());
        at.and_then(|at| strings.get(at)).cloned().unwrap_or_else(|| "unknown".to_owned())
    };
    let mut stacks = Stacks::new();
    for (locations, values, thread) in samples {
        let functions = locations.iter().flat_map(|id| functions_of.get(id).map_or(&[][..], Vec::as_slice));
        let mut stack: Vec<String> = functions.map(|function| text(names_of.get(function))).collect();
        // Without frame pointers there may be nothing but the thread.
        stack.extend(thread.map(|thread| format!("thread {}", text(Some(&thread)))));
        stack.reverse();
        *stacks.entry(stack).or_default() += values.first()?;
    }
    Some(stacks)
}

/// All numbers of a field, packed or not.
fn numbers(message: &[u8], wanted: u64) -> Option<Vec<u64>> {
    let (mut fields, mut found) = (Fields(message), Vec::new());
    while let Some(field) = fields.next() {
        match field? {
            (field, Field::Number(number)) if field == wanted => found.push(number),
            (field, Field::Bytes(packed)) if field == wanted => {
                let mut packed = Fields(packed);
                while !packed.0.is_empty() {
                    found.push(packed.number()?);
                }
            }
            _ => {}
        }
    }
    Some(found)
}

/// The text of a sample's only label; an inner `None` without one.
fn label(sample: &[u8]) -> Option<Option<u64>> {
    let (mut fields, mut found) = (Fields(sample), None);
    while let Some(field) = fields.next() {
        if let (3, Field::Bytes(label)) = field? {
            found = numbers(label, 2)?.first().copied();
        }
    }
    Some(found)
}

/// Functions of a location, the innermost inlined one first.
fn lines(location: &[u8]) -> Option<Vec<u64>> {
    let (mut fields, mut found) = (Fields(location), Vec::new());
    while let Some(field) = fields.next() {
        if let (4, Field::Bytes(line)) = field? {
            found.extend(numbers(line, 1)?.first());
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
        [&[field << 3 | 2, content.len() as u8], content].concat()
    }

    #[test]
    fn stacks_are_read_from_the_outermost_function_in() {
        let location = |id: u8| bytes(4, &[&[8, id][..], &bytes(4, &[8, id])].concat());
        let function = |id: u8| bytes(5, &[8, id, 16, id]);
        let sample = bytes(2, &[bytes(1, &[1, 2]), bytes(2, &[7, 0]), bytes(3, &[16, 2])].concat());
        let strings = ["", "inner", "outer"].map(|text| bytes(6, text.as_bytes())).concat();
        let message = [sample.clone(), location(1), location(2), function(1), function(2), strings, sample].concat();
        let stacks = parse(&message).unwrap();
        assert_eq!(stacks, Stacks::from([(["thread outer", "outer", "inner"].map(str::to_owned).to_vec(), 14)]));
        assert!(parse(&message[..message.len() - 1]).is_none(), "a broken message is none");
    }
}
