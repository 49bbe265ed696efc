//! Patterns of names, as KEYS, SCAN, CONFIG GET and COMMAND LIST take them: `* ? [a-z] [^a] \x`, as Redis 7 reads them.
//!
//! The work is bounded: only the last star is tried again, so a match takes at most pattern times text steps. Steps are
//! counted, so that a caller can bound the work of many matches.

/// Whether letters match in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterCase {
    /// `a` is not `A`.
    Exact,
    /// `a` is `A`.
    Any,
}

/// A pattern.
#[derive(Clone, Copy, Debug)]
pub struct Glob<'p> {
    pattern: &'p [u8],
    case: LetterCase,
}

impl<'p> Glob<'p> {
    /// Any bytes are a pattern.
    #[must_use]
    pub fn new(pattern: &'p [u8], case: LetterCase) -> Glob<'p> {
        Glob { pattern, case }
    }

    /// Whether all of `text` matches.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        self.matches_within(text, &mut 0, u64::MAX) == Some(true)
    }

    /// The same; adds the steps that it took to `steps`. `None` once these are more than `steps_max`.
    pub fn matches_within(&self, text: &[u8], steps: &mut u64, steps_max: u64) -> Option<bool> {
        if text.is_empty() {
            // Redis looks at a pattern only while there is text.
            return Some(self.pattern.is_empty() || self.pattern == b"*");
        }
        let (mut at, mut position) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while position < text.len() {
            *steps += 1;
            if *steps > steps_max {
                return None;
            }
            if self.pattern.get(at) == Some(&b'*') {
                at += 1;
                retry = Some((at, position));
                continue;
            }
            if let Some(used) = self.matches_one(&self.pattern[at..], text[position], steps) {
                at += used;
                position += 1;
                continue;
            }
            let Some((after_star, tried)) = retry else {
                return Some(false);
            };
            retry = Some((after_star, tried + 1));
            at = after_star;
            position = tried + 1;
        }
        Some(self.pattern[at..].iter().all(|byte| *byte == b'*'))
    }

    /// How much of the pattern's front matches `byte`.
    fn matches_one(&self, pattern: &[u8], byte: u8, steps: &mut u64) -> Option<usize> {
        match pattern {
            [] => None,
            [b'?', ..] => Some(1),
            [b'\\', escaped, ..] => self.is_same(*escaped, byte).then_some(2),
            [b'[', class @ ..] => {
                let (used, is_member) = self.class_has(class, byte);
                *steps += used as u64;
                is_member.then_some(1 + used)
            }
            [literal, ..] => self.is_same(*literal, byte).then_some(1),
        }
    }

    /// Bytes of a class behind its bracket, the closing one included, and whether it has `byte`. One that is not closed
    /// goes on to the end of the pattern.
    fn class_has(&self, class: &[u8], byte: u8) -> (usize, bool) {
        let is_negated = class.first() == Some(&b'^');
        let mut at = usize::from(is_negated);
        let mut is_member = false;
        loop {
            match &class[at..] {
                [] => break,
                [b'\\', escaped, ..] => {
                    is_member |= self.is_same(*escaped, byte);
                    at += 2;
                }
                [b']', ..] => {
                    at += 1;
                    break;
                }
                [low, b'-', high, ..] => {
                    let (low, high) = (self.folded(*low), self.folded(*high));
                    is_member |= (low.min(high)..=low.max(high)).contains(&self.folded(byte));
                    at += 3;
                }
                [member, ..] => {
                    is_member |= self.is_same(*member, byte);
                    at += 1;
                }
            }
        }
        (at, is_member != is_negated)
    }

    fn is_same(&self, one: u8, other: u8) -> bool {
        self.folded(one) == self.folded(other)
    }

    fn folded(&self, byte: u8) -> u8 {
        if self.case == LetterCase::Any { byte.to_ascii_lowercase() } else { byte }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(pattern: &str, text: &str) -> bool {
        Glob::new(pattern.as_bytes(), LetterCase::Exact).matches(text.as_bytes())
    }

    #[test]
    fn patterns_match_what_redis_matches() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("*", "abc"),
            ("a*c", "ac"),
            ("a*c", "abcbc"),
            ("h?llo", "hallo"),
            ("h[ae]llo", "hello"),
            ("h[^e]llo", "hallo"),
            ("h[b-a]llo", "hallo"),
            ("a\\*", "a*"),
            ("[\\]]", "]"),
            ("[ab", "b"),
            ("a\\", "a\\"),
            ("*a*b*", "xxaxxbxx"),
            ("a**", "a"),
        ] {
            assert!(exact(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("**", ""),
            ("?", ""),
            ("a", "A"),
            ("a*c", "acb"),
            ("h[^a]llo", "hallo"),
            ("[]a]", "a"),
            ("ab", "a"),
        ] {
            assert!(!exact(pattern, text), "{pattern} {text}");
        }
        assert!(Glob::new(b"MAX*", LetterCase::Any).matches(b"maxclients"));
        assert!(Glob::new(b"[A-C]x", LetterCase::Any).matches(b"bX"));
    }

    #[test]
    fn no_pattern_takes_more_than_pattern_times_text_steps() {
        let (pattern, text) = ([b"*a".repeat(200), b"b".to_vec()].concat(), b"a".repeat(2000));
        let mut steps = 0;
        let glob = Glob::new(&pattern, LetterCase::Exact);
        assert_eq!(glob.matches_within(&text, &mut steps, u64::MAX), Some(false));
        assert!(steps <= (pattern.len() * text.len()) as u64, "{steps}");
        let mut bounded = 7;
        assert_eq!(glob.matches_within(&text, &mut bounded, 1000), None, "it ends in the middle of a match");
        assert_eq!(bounded, 1001);
        let stars = b"*".repeat(64 << 10);
        let mut steps = 0;
        assert_eq!(Glob::new(&stars, LetterCase::Exact).matches_within(&text, &mut steps, u64::MAX), Some(true));
        assert!(steps <= 2 * (stars.len() + text.len()) as u64, "{steps}");
    }
}
