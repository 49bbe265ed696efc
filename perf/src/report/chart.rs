//! Charts as SVG without scripts: stacked bars and lines. Colours are those of the page, by class, so light and dark both work.

use std::fmt::Write as _;

/// A bar made of parts that lie on each other.
pub struct Bar {
    pub label: String,
    /// Number and colour of each part, in the order of the legend.
    pub parts: Vec<f64>,
    /// What stands at its end.
    pub note: String,
}

/// Horizontal stacked bars with a legend. `names` are those of the parts.
pub fn bars(title: &str, names: &[String], bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.parts.iter().sum::<f64>()).fold(0.0, f64::max).max(1e-9);
    let height = TOP + bars.len() as f64 * ROW + 12.0;
    let longest = bars.iter().map(|bar| bar.label.chars().count()).max().unwrap_or(0);
    let left = longest as f64 * LETTER + 16.0;
    let mut svg = open(title, height, bars.iter().map(|bar| bar.parts.len()).sum());
    svg += &legend(names);
    for (at, bar) in bars.iter().enumerate() {
        let y = TOP + at as f64 * ROW;
        let _ = write!(
            svg,
            r#"<text class="label" x="{:.0}" y="{:.1}" text-anchor="end">{}</text>"#,
            left - 8.0,
            y + 17.0,
            escape(&bar.label)
        );
        let mut x = left;
        for (part, value) in bar.parts.iter().enumerate() {
            let width = value / most * (WIDTH - left - RIGHT);
            let _ = write!(
                svg,
                r#"<rect class="c{}" x="{x:.1}" y="{:.1}" width="{width:.1}" height="22"><title>{}: {value:.1}</title></rect>"#,
                part % COLOURS,
                y + 2.0,
                escape(names.get(part).map_or("", String::as_str)),
            );
            x += width;
        }
        let _ =
            write!(svg, r#"<text class="note" x="{:.1}" y="{:.1}">{}</text>"#, x + 6.0, y + 17.0, escape(&bar.note));
    }
    svg + "</svg>"
}

/// A curve: its name and its points.
pub struct Curve {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// Lines over a logarithmic axis from left to right; from 0 upwards.
pub fn lines(title: &str, (x_name, y_name): (&str, &str), curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let most = points().map(|point| point.1).fold(0.0, f64::max).max(1e-9) * 1.08;
    let logs = || points().map(|point| point.0.max(1.0).log2());
    let (low, high) = (logs().fold(f64::MAX, f64::min), logs().fold(f64::MIN, f64::max));
    let (bottom, left, right) = (LINES_HEIGHT - 40.0, 70.0, WIDTH - 20.0);
    let x = |value: f64| left + (value.max(1.0).log2() - low) / (high - low).max(1e-9) * (right - left);
    let y = |value: f64| bottom - value / most * (bottom - TOP);
    let mut svg = open(title, LINES_HEIGHT, points().count());
    svg += &legend(&curves.iter().map(|curve| curve.name.clone()).collect::<Vec<_>>());
    for step in 0..=4 {
        let value = most * f64::from(step) / 4.0;
        let _ = write!(svg, r#"<line class="grid" x1="{left}" x2="{right}" y1="{0:.1}" y2="{0:.1}"/>"#, y(value));
        let _ = write!(
            svg,
            r#"<text class="note" x="{:.0}" y="{:.1}" text-anchor="end">{}</text>"#,
            left - 6.0,
            y(value) + 4.0,
            short(value)
        );
    }
    let mut marks: Vec<f64> = points().map(|point| point.0).collect();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    for mark in marks {
        let _ = write!(
            svg,
            r#"<text class="note" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            x(mark),
            bottom + 16.0,
            short(mark)
        );
    }
    let _ = write!(
        svg,
        r#"<text class="note" x="{right}" y="{:.1}" text-anchor="end">{}</text>"#,
        LINES_HEIGHT - 6.0,
        escape(x_name)
    );
    let _ = write!(svg, r#"<text class="note" x="{left}" y="{:.1}">{}</text>"#, TOP - 6.0, escape(y_name));
    for (at, curve) in curves.iter().enumerate() {
        let path: Vec<String> =
            curve.points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
        let _ = write!(svg, r#"<polyline class="l{}" points="{}"/>"#, at % COLOURS, path.join(" "));
        for point in &curve.points {
            let _ = write!(
                svg,
                r#"<circle class="c{}" cx="{:.1}" cy="{:.1}" r="3"><title>{} at {}: {}</title></circle>"#,
                at % COLOURS,
                x(point.0),
                y(point.1),
                escape(&curve.name),
                short(point.0),
                short(point.1)
            );
        }
    }
    svg + "</svg>"
}

fn open(title: &str, height: f64, points: usize) -> String {
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" role="img" aria-label="{0}" data-points="{points}"><title>{0}</title>"#,
        escape(title)
    )
}

fn legend(names: &[String]) -> String {
    let mut svg = String::new();
    let mut x = 16.0;
    for (at, name) in names.iter().enumerate() {
        let _ = write!(svg, r#"<rect class="c{}" x="{x:.0}" y="8" width="12" height="12"/>"#, at % COLOURS);
        let _ = write!(svg, r#"<text class="note" x="{:.0}" y="18">{}</text>"#, x + 17.0, escape(name));
        x += 34.0 + name.chars().count() as f64 * 7.0;
    }
    svg
}

/// `12`, `1.5 k`, `2 M`.
pub fn short(value: f64) -> String {
    let trim = |value: f64, unit: &str| {
        let text =
            if value.fract().abs() < 0.05 || value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") };
        if unit.is_empty() { text } else { format!("{text} {unit}") }
    };
    match value.abs() {
        most if most >= 1e6 => trim(value / 1e6, "M"),
        most if most >= 1e3 => trim(value / 1e3, "k"),
        _ => trim(value, ""),
    }
}

/// Text for HTML and SVG.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// What the classes of a chart look like, in light and in dark.
pub const STYLE: &str = "svg{width:100%;height:auto;font:13px system-ui,sans-serif}\
.label{fill:var(--ink)}.note{fill:var(--soft);font-size:12px}.grid{stroke:var(--line)}\
polyline{fill:none;stroke-width:2}\
.c0{fill:var(--c0)}.c1{fill:var(--c1)}.c2{fill:var(--c2)}.c3{fill:var(--c3)}.c4{fill:var(--c4)}.c5{fill:var(--c5)}\
.l0{stroke:var(--c0)}.l1{stroke:var(--c1)}.l2{stroke:var(--c2)}.l3{stroke:var(--c3)}.l4{stroke:var(--c4)}.l5{stroke:var(--c5)}";

/// The colours by name, for a rule such as `:root{...}`.
pub const LIGHT: &str = "--paper:#fff;--ink:#1a1c20;--soft:#5b6472;--line:#d9dee6;--c0:#2f6fde;--c1:#e07b27;--c2:#2a9d6f;--c3:#b14bb3;--c4:#c9a400;--c5:#6b7a90";
pub const DARK: &str = "--paper:#14161a;--ink:#e8eaee;--soft:#a3adbb;--line:#343a44;--c0:#6fa0ff;--c1:#ffa45c;--c2:#5bd1a0;--c3:#dd8be0;--c4:#f0cf4a;--c5:#97a5b8";

const WIDTH: f64 = 820.0;
const RIGHT: f64 = 190.0;
/// About as wide as a letter is.
const LETTER: f64 = 7.2;
const TOP: f64 = 40.0;
const ROW: f64 = 30.0;
const LINES_HEIGHT: f64 = 300.0;
const COLOURS: usize = 6;
