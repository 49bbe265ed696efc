//! Flame graphs as SVG: one of a profile, and one that shows where a second profile has more or less.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::chart::escape;
use crate::pprof::Stacks;

/// A function in its place: samples in it and below, now and before, in thousandths of the whole profile.
#[derive(Default)]
struct Frame {
    now: f64,
    before: f64,
    below: BTreeMap<String, Frame>,
}

/// The graph of `now`; with `before` coloured by the difference: red where it takes more, blue where it takes less.
pub fn svg(title: &str, now: &Stacks, before: Option<&Stacks>) -> String {
    let mut root = Frame::default();
    add(&mut root, now, |frame, part| frame.now += part);
    if let Some(before) = before {
        add(&mut root, before, |frame, part| frame.before += part);
    }
    let depth = depth_of(&root);
    let height = 34.0 + f64::from(depth) * ROW;
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" font-family="monospace" font-size="11"><title>{0}</title><style>.p{{fill:#fff}}.t{{fill:#222}}@media(prefers-color-scheme:dark){{.p{{fill:#14161a}}.h{{fill:#eee}}}}</style><rect class="p" width="100%" height="100%"/><text class="t h" x="8" y="18">{0}</text>"#,
        escape(title)
    );
    draw(&root, 0.0, height, before.is_some(), &mut svg);
    svg + "</svg>\n"
}

fn add(root: &mut Frame, stacks: &Stacks, count: impl Fn(&mut Frame, f64)) {
    let all: u64 = stacks.values().sum();
    for (stack, samples) in stacks {
        let part = *samples as f64 / all.max(1) as f64 * 1000.0;
        let mut frame = &mut *root;
        count(frame, part);
        for name in stack {
            frame = frame.below.entry(name.clone()).or_default();
            count(frame, part);
        }
    }
}

fn depth_of(frame: &Frame) -> u32 {
    let below = frame.below.values().filter(|below| below.now >= THINNEST).map(depth_of);
    below.max().map_or(0, |deepest| deepest + 1)
}

/// Draws what is below a frame whose left edge is at `x` (in thousandths), and whose upper edge is at `y`.
fn draw(frame: &Frame, mut x: f64, y: f64, is_difference: bool, svg: &mut String) {
    for (name, below) in &frame.below {
        if below.now >= THINNEST {
            let (left, width) = (x / 1000.0 * WIDTH, below.now / 1000.0 * WIDTH);
            let difference = below.now - below.before;
            let note = match is_difference {
                true => format!("{:.1} %, {:+.1}", below.now / 10.0, difference / 10.0),
                false => format!("{:.1} %", below.now / 10.0),
            };
            let colour = if is_difference { colour_of(difference) } else { warm(name) };
            let letters = (width / 6.8) as usize;
            let shown: String = if letters > 3 { name.chars().take(letters).collect() } else { String::new() };
            let _ = write!(
                svg,
                r#"<g><title>{0} ({note})</title><rect x="{left:.1}" y="{1:.1}" width="{width:.1}" height="{2}" fill="{colour}" stroke="white" stroke-width=".3"/><text class="t" x="{3:.1}" y="{4:.1}">{5}</text></g>"#,
                escape(name),
                y - ROW,
                ROW - 1.0,
                left + 3.0,
                y - 5.0,
                escape(&shown),
            );
            draw(below, x, y - ROW, is_difference, svg);
        }
        x += below.now;
    }
}

/// Red for more, blue for less; five percent of the profile are the full colour.
fn colour_of(difference: f64) -> String {
    let strength = (difference.abs() / 50.0).min(1.0);
    let other = (235.0 - strength * 150.0) as u8;
    if difference >= 0.0 { format!("rgb(250,{other},{other})") } else { format!("rgb({other},{other},250)") }
}

/// A colour that a name always has.
fn warm(name: &str) -> String {
    let hash = name.bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    format!("rgb({},{},{})", 220 + hash % 35, 120 + hash / 35 % 100, 60 + hash / 3500 % 50)
}

/// The ten functions whose own time differs most, in percent of the profile: name, before, now.
pub fn differences(now: &Stacks, before: &Stacks) -> Vec<(String, f64, f64)> {
    let mut functions: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    let share = |stacks: &Stacks| 100.0 / stacks.values().sum::<u64>().max(1) as f64;
    for (stack, samples) in before {
        functions.entry(innermost(stack)).or_default().0 += *samples as f64 * share(before);
    }
    for (stack, samples) in now {
        functions.entry(innermost(stack)).or_default().1 += *samples as f64 * share(now);
    }
    let mut all: Vec<(String, f64, f64)> =
        functions.into_iter().map(|(name, (before, now))| (name.to_owned(), before, now)).collect();
    all.sort_by(|a, b| (b.2 - b.1).abs().total_cmp(&(a.2 - a.1).abs()));
    all.truncate(10);
    all
}

fn innermost(stack: &[String]) -> &str {
    stack.last().map_or("unknown", String::as_str)
}

const WIDTH: f64 = 1200.0;
const ROW: f64 = 17.0;
/// In thousandths of the profile: narrower ones are not drawn.
const THINNEST: f64 = 1.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn stacks(list: &[(&[&str], u64)]) -> Stacks {
        list.iter().map(|(stack, count)| (stack.iter().map(|name| (*name).to_owned()).collect(), *count)).collect()
    }

    #[test]
    fn the_difference_is_of_shares_and_not_of_samples() {
        let before = stacks(&[(&["main", "run"], 10), (&["main", "log"], 10)]);
        let now = stacks(&[(&["main", "run"], 100), (&["main", "log"], 200), (&["main", "seal<T>"], 100)]);
        let found = differences(&now, &before);
        assert_eq!(found[0].0, "run");
        assert!((found[0].1 - 50.0).abs() < 0.01 && (found[0].2 - 25.0).abs() < 0.01, "{found:?}");
        let svg = svg("x", &now, Some(&before));
        assert!(svg.contains("seal&lt;T&gt; (25.0 %, +25.0)") && svg.contains("run (25.0 %, -25.0)"), "{svg}");
    }
}
