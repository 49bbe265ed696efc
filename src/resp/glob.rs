//! Patterns of names, as CONFIG GET and COMMAND LIST take them.

/// Matches `text` against a glob of `* ? [a-z] [^a] \x`, in any letter case. Bounded work: the last star only is
/// tried again, so it takes at most pattern times text steps.
pub(crate) fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while position < text.len() {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            retry = Some((at, position));
            continue;
        }
        if let Some(used) = matches_one(&pattern[at..], text[position]) {
            at += used;
            position += 1;
            continue;
        }
        let Some((after_star, tried)) = retry else {
            return false;
        };
        retry = Some((after_star, tried + 1));
        at = after_star;
        position = tried + 1;
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// How much of the pattern's front matches `byte`.
fn matches_one(pattern: &[u8], byte: u8) -> Option<usize> {
    let is_same = |other: u8| other.eq_ignore_ascii_case(&byte);
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => is_same(*escaped).then_some(2),
        [b'[', class @ ..] => {
            let end = memchr::memchr(b']', class)?;
            let (is_negated, members) = match &class[..end] {
                [b'^', members @ ..] => (true, members),
                members => (false, members),
            };
            (class_has(members, byte) != is_negated).then_some(end + 2)
        }
        [literal, ..] => is_same(*literal).then_some(1),
    }
}

fn class_has(mut members: &[u8], byte: u8) -> bool {
    let byte = byte.to_ascii_lowercase();
    loop {
        match members {
            [] => return false,
            [low, b'-', high, rest @ ..] => {
                let (low, high) = (low.to_ascii_lowercase(), high.to_ascii_lowercase());
                if (low.min(high)..=low.max(high)).contains(&byte) {
                    return true;
                }
                members = rest;
            }
            [member, rest @ ..] => {
                if member.to_ascii_lowercase() == byte {
                    return true;
                }
                members = rest;
            }
        }
    }
}
