//! One record as one HTML page: no script, nothing loaded from elsewhere, light and dark by the reader's setting.

use std::fmt::Write as _;

use serde_json::Value;

use crate::beside;
use crate::chart::Bar;
use crate::chart::Curve;
use crate::chart::DARK;
use crate::chart::LIGHT;
use crate::chart::STYLE;
use crate::chart::bars;
use crate::chart::escape;
use crate::chart::lines;
use crate::chart::short;
use crate::facts::host_takes_memory;
use crate::goals;
use crate::steady;
use crate::summary::StageCost;
use crate::summary::count_words;
use crate::summary::interval_words;
use crate::summary::shown_batch;
use crate::summary::size_words;
use crate::summary::sizes;
use crate::summary::stages;
use crate::table::Table;

/// The page.
pub fn html(record: &Value) -> Result<String, String> {
    let bench = record["bench"].as_str().ok_or("the record does not say of what it is")?;
    let body = match bench {
        "overhead" => overhead(record),
        "scale" => scale(record),
        "peers node" | "peers cluster" => peers(record),
        "steady" => {
            let tables: String = steady::tables(record).iter().map(Table::html).collect();
            format!("<h2>SETs a second, by tenth of each phase</h2>{}{tables}", steady::chart(record))
        }
        _ => return Err(format!("records of {bench} have no page")),
    };
    let title = match bench {
        "overhead" => "What encryption costs, entry by entry",
        "scale" => "What it costs as work grows",
        "steady" => "What it takes for as long as you like",
        _ => "Beside its peers",
    };
    Ok(whole(title, &format!("{}{body}", head(record))))
}

/// A document with its style.
pub fn whole(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>sealkv: {title}</title><link rel=\"icon\" href=\"data:,\"><style>:root{{{LIGHT}}}@media(prefers-color-scheme:dark){{:root{{{DARK}}}}}\
         body{{margin:2rem auto;max-width:60rem;padding:0 1rem;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}}\
         a{{color:var(--c0)}}pre{{overflow-x:auto;font-size:.8rem}}\
         td{{overflow-wrap:anywhere}}h1{{font-size:1.7rem}}h2{{margin-top:2.5rem;font-size:1.2rem}}p.soft,td,th{{font-size:.9rem}}p.soft{{color:var(--soft)}}\
         p.busy{{border:2px solid var(--c1);padding:.5rem 1rem}}table{{border-collapse:collapse;width:100%}}\
         th,td{{text-align:right;padding:.25rem .6rem;border-bottom:1px solid var(--line)}}th:first-child,td:first-child{{text-align:left}}\
         table.numbers td+td{{white-space:nowrap}}td small{{color:var(--soft)}}td.yes,td.no{{white-space:nowrap}}td.yes{{color:var(--c2)}}td.no{{color:var(--c1)}}{STYLE}</style></head><body><h1>{title}</h1>{body}</body></html>\n"
    )
}

/// The first chart of the page; nothing for a record without stages.
pub fn added(record: &Value) -> Option<String> {
    let stages = stages(record);
    (!stages.is_empty()).then(|| added_chart(&stages))
}

/// The README's picture: the first chart of the page, with its colours in it.
pub fn picture(record: &Value) -> Option<String> {
    let chart = added(record)?;
    let style = format!(
        "<style>svg{{{LIGHT}}}@media(prefers-color-scheme:dark){{svg{{{DARK}}}}}{STYLE}.paper{{fill:var(--paper)}}</style>"
    );
    let end = chart.find("</title>")? + "</title>".len();
    let paper = "<rect class=\"paper\" width=\"100%\" height=\"100%\"/>";
    Some(format!("{}{style}{paper}{}\n", &chart[..end], &chart[end..]))
}

/// Where it was measured, and what is wrong with it.
pub fn head(record: &Value) -> String {
    let machine = &record["machine"];
    let text = |key: &str| escape(machine[key].as_str().unwrap_or("?"));
    let mut head = format!(
        "<p class=\"soft\">{} ({}), AEAD tier {}, {} cores, {} MiB{}, {}, Linux {}; commit {}, {}</p>",
        text("cpu"),
        text("class"),
        text("tier"),
        machine["cores"],
        machine["memory_mib"],
        host_takes_memory(machine),
        text("disk"),
        text("kernel"),
        escape(record["commit"].as_str().unwrap_or("?")),
        escape(record["date"].as_str().unwrap_or("?")),
    );
    if record["busy"] == true {
        let foreign = record["foreign_cpus"].as_f64().unwrap_or(0.0);
        let _ = write!(
            head,
            "<p class=\"busy\">Other processes took {foreign:.2} CPUs meanwhile: times are worth little, instructions, bytes and allocations hold.</p>"
        );
    }
    for missing in record["missing"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let _ = write!(head, "<p class=\"busy\">Missing: {}</p>", escape(missing));
    }
    head
}

fn overhead(record: &Value) -> String {
    let stages = stages(record);
    let mut body = String::new();
    let _ = write!(
        body,
        "<h2>Nanoseconds that sealing adds to one entry</h2>{}<p class=\"soft\">Sealed minus nil, by stage, {}. A write is sealed, put into a frame \
         of the log, opened and applied, and its value is sealed again at a flush. A read of a row that only the disk has is opened. A replay opens the log's frames.</p>",
        added_chart(&stages),
        batch_words(&stages),
    );
    body += &goals::html(record);
    let _ = write!(body, "<h2>The whole of an entry: nil beside sealed, nanoseconds</h2>{}", whole_chart(&stages));
    let _ = write!(body, "<h2>One write by the number of entries together</h2>{}", batch_chart(&stages));
    if let Some(rows) = record["scenarios"].as_array().filter(|rows| !rows.is_empty()) {
        let _ = write!(
            body,
            "<h2>A running node: requests per second, beside <code>off</code></h2>{}{}",
            scenario_chart(rows),
            scenario_table(rows)
        );
    }
    body += &profile_tables(record);
    let _ = write!(body, "<h2>Every stage, for one entry</h2>{}", stage_table(&stages));
    body
}

fn batch_words(stages: &[StageCost]) -> String {
    let shown: Vec<String> =
        sizes(stages).iter().map(|size| format!("{} at {}", shown_batch(stages, *size), size_words(*size))).collect();
    format!("so many entries together: {}", shown.join(", "))
}

/// Stages of a direction at the shown batch of a size.
fn of<'s>(stages: &'s [StageCost], direction: &str, size: u64) -> Vec<&'s StageCost> {
    let batch = shown_batch(stages, size);
    stages.iter().filter(|stage| stage.direction == direction && stage.size == size && stage.batch == batch).collect()
}

fn stage_names(stages: &[StageCost]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for stage in stages {
        if !names.contains(&stage.stage) {
            names.push(stage.stage.clone());
        }
    }
    names
}

fn added_chart(stages: &[StageCost]) -> String {
    let names = stage_names(stages);
    let mut rows = Vec::new();
    for direction in ["write", "read", "replay"] {
        for size in sizes(stages).into_iter().filter(|size| *size <= LARGEST_OF_WHOLE) {
            let some = of(stages, direction, size);
            let part =
                |name: &String| some.iter().filter(|stage| stage.stage == *name).map(|stage| stage.added()).sum();
            let parts: Vec<f64> = names.iter().map(part).collect();
            let added: f64 = parts.iter().sum();
            let nil: f64 = some.iter().map(|stage| stage.nil.nanoseconds).sum();
            if !some.is_empty() {
                let note = format!("+{} ns (nil: {})", short(added), short(nil));
                rows.push(Bar { label: format!("{direction} {}", size_words(size)), parts, note });
            }
        }
    }
    bars("Nanoseconds that sealing adds to one entry, by stage", &names, &rows)
}

fn whole_chart(stages: &[StageCost]) -> String {
    let names = stage_names(stages);
    let mut rows = Vec::new();
    for size in sizes(stages).into_iter().filter(|size| *size <= LARGEST_OF_WHOLE) {
        let some = of(stages, "write", size);
        for cipher in ["nil", "sealed"] {
            let of_stage =
                |stage: &StageCost| if cipher == "nil" { stage.nil.nanoseconds } else { stage.sealed.nanoseconds };
            let part =
                |name: &String| some.iter().filter(|stage| stage.stage == *name).map(|stage| of_stage(stage)).sum();
            let parts: Vec<f64> = names.iter().map(part).collect();
            let note = format!("{} ns", short(parts.iter().sum()));
            rows.push(Bar { label: format!("write {} {cipher}", size_words(size)), parts, note });
        }
    }
    bars("Nanoseconds of one write, nil and sealed, by stage", &names, &rows)
}

fn batch_chart(stages: &[StageCost]) -> String {
    let mut curves = Vec::new();
    for size in sizes(stages).into_iter().filter(|size| *size <= LARGEST_OF_WHOLE) {
        let mut batches: Vec<u64> = stages.iter().filter(|stage| stage.size == size).map(|stage| stage.batch).collect();
        batches.sort_unstable();
        batches.dedup();
        let added = |batch: u64| -> f64 {
            let here = |stage: &&StageCost| stage.direction == "write" && stage.size == size && stage.batch == batch;
            stages.iter().filter(here).map(StageCost::added).sum()
        };
        let points = batches.into_iter().map(|batch| (batch as f64, added(batch))).collect();
        curves.push(Curve { name: size_words(size), points });
    }
    lines("Nanoseconds that sealing adds to one write, by batch", ("entries together", "ns added"), &curves)
}

fn scenario_chart(rows: &[Value]) -> String {
    let percent = |row: &Value| row["throughput_by_off"]["median"].as_f64().unwrap_or(0.0) * 100.0;
    let is_shown = |row: &&Value| row["load"] != "fixed rate";
    let bar = |row: &Value| {
        let ratio = &row["throughput_by_off"];
        let number = |key: &str| ratio[key].as_f64().unwrap_or(f64::NAN) * 100.0;
        Bar {
            label: format!("{} {}", row["op"].as_str().unwrap_or("?"), row["scenario"].as_str().unwrap_or("?")),
            parts: vec![percent(row)],
            note: format!("{:.1} % ({:.0} to {:.0})", number("median"), number("lower"), number("upper")),
        }
    };
    let rows: Vec<Bar> = rows.iter().filter(is_shown).map(bar).collect();
    bars(
        "Throughput in percent of a node without encryption",
        &["percent of off: median and interval".to_owned()],
        &rows,
    )
}

/// Where the CPU time of the node went, and which functions make the difference.
fn profile_tables(record: &Value) -> String {
    let mut tables = String::new();
    for (op, profile) in record["profiles"].as_object().into_iter().flatten() {
        let _ = write!(
            tables,
            "<h2>Profile of {op}: own share of the CPU, percent</h2><p class=\"soft\">Sealing and opening take {:.1} % of the sealed node's CPU; names \
             of rows take {:.1} % of both. The ten functions that differ most:</p><table><tr><th>function</th><th>nil</th><th>sealed</th></tr>",
            profile["crypto_percent"].as_f64().unwrap_or(f64::NAN),
            profile["crypto_percent_nil"].as_f64().unwrap_or(f64::NAN),
        );
        for row in profile["differences"].as_array().into_iter().flatten() {
            let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
            let name = escape(row["function"].as_str().unwrap_or("?"));
            let _ =
                write!(tables, "<tr><td>{name}</td><td>{:.2}</td><td>{:.2}</td></tr>", number("nil"), number("sealed"));
        }
        tables += "</table>";
    }
    tables
}

fn scenario_table(rows: &[Value]) -> String {
    let mut table = "<table><tr><th>scenario</th><th>load</th><th>requests/s</th><th>of off</th><th>p50 us</th><th>p99 us</th><th>p99 of off</th><th>p99.9 us</th><th>CPU us each</th></tr>".to_owned();
    for row in rows {
        let text = |key: &str| escape(row[key].as_str().unwrap_or("?"));
        let number = |key: &str| row[key].as_f64().map_or("-".to_owned(), |number| format!("{number:.0}"));
        let _ = write!(
            table,
            "<tr><td>{} {} ({})</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.2}</td></tr>",
            text("op"),
            text("scenario"),
            text("words"),
            text("load"),
            short(row["requests_per_second"]["median"].as_f64().unwrap_or(f64::NAN)),
            interval_words(&row["throughput_by_off"]),
            number("p50_micros"),
            number("p99_micros"),
            interval_words(&row["p99_by_off"]),
            number("p999_micros"),
            row["cpu_micros_per_request"].as_f64().unwrap_or(f64::NAN),
        );
    }
    table + "</table>"
}

fn stage_table(stages: &[StageCost]) -> String {
    let mut table = "<table><tr><th>stage</th><th>size</th><th>batch</th><th>ns nil</th><th>sealed</th><th>added</th>\
                     <th>instructions nil</th><th>sealed</th><th>bytes added</th><th>allocations nil</th><th>sealed</th></tr>"
        .to_owned();
    for stage in stages {
        let _ = write!(
            table,
            "<tr><td>{} {}</td><td>{}</td><td>{}</td><td>{:.0}</td><td>{:.0}</td><td>{:.0}</td><td>{}</td><td>{}</td><td>{:.0}</td><td>{:.2}</td><td>{:.2}</td></tr>",
            stage.direction,
            escape(&stage.stage),
            size_words(stage.size),
            stage.batch,
            stage.nil.nanoseconds,
            stage.sealed.nanoseconds,
            stage.added(),
            count_words(stage.nil.instructions),
            count_words(stage.sealed.instructions),
            stage.sealed.bytes - stage.nil.bytes,
            stage.nil.allocations,
            stage.sealed.allocations,
        );
    }
    table + "</table>"
}

fn scale(record: &Value) -> String {
    let points = record["curves"].as_array().map_or(&[][..], Vec::as_slice);
    let mut body = String::new();
    for of_one in points.chunk_by(|a, b| a["axis"] == b["axis"]) {
        for op in ["set", "get", "apply", "open"] {
            let some: Vec<&Value> = of_one.iter().filter(|point| point["op"] == op).collect();
            let Some(first) = some.first() else { continue };
            let curve = |cipher: &str| {
                let points = some.iter().filter_map(|point| Some((point["value"].as_f64()?, point[cipher].as_f64()?)));
                Curve { name: cipher.to_owned(), points: points.collect() }
            };
            let curves: Vec<Curve> =
                ["nil", "sealed"].into_iter().map(curve).filter(|curve| !curve.points.is_empty()).collect();
            let word = |key: &str| first[key].as_str().unwrap_or("?");
            let title = format!("{op} by {}", word("axis"));
            let chart = lines(&title, (word("axis"), word("unit")), &curves);
            let _ = write!(body, "<h2>{}</h2>{chart}", escape(&title));
            let bends = record["bends"].as_array().into_iter().flatten();
            for bend in bends.filter(|bend| bend["axis"] == first["axis"] && bend["op"] == op) {
                let _ = write!(body, "<p class=\"soft\">Sealed {}.</p>", escape(bend["words"].as_str().unwrap_or("?")));
            }
        }
    }
    body
}

fn peers(record: &Value) -> String {
    let rows = record["rows"].as_array().map_or(&[][..], Vec::as_slice);
    let bars_of = |row: &Value| {
        let rate = row["requests_per_second"].as_f64()?;
        let label = format!(
            "{} {} c{} P{}",
            row["impl"].as_str()?,
            row["op"].as_str()?,
            row["clients"].as_u64()?,
            row["pipeline"].as_u64()?
        );
        let note = format!("{}, p99 {} us", short(rate), short(row["p99_micros"].as_f64().unwrap_or(f64::NAN)));
        Some(Bar { label, parts: vec![rate], note })
    };
    let rows: Vec<Bar> = rows.iter().filter_map(bars_of).collect();
    let chart = bars("Requests per second", &["median".to_owned()], &rows);
    let tables: String = beside::tables(record).iter().map(Table::html).collect();
    let notes: String = beside::notes(record).map(|note| format!("<p class=\"soft\">{}.</p>", escape(note))).collect();
    format!("<h2>Requests per second</h2>{chart}{notes}{tables}")
}

/// Larger entries would make bars of small ones too short to see.
const LARGEST_OF_WHOLE: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::process::Command;

    fn record() -> Value {
        let cell = |stage: &str, cipher: &str, ns: f64| {
            json!({"direction": "write", "stage": stage, "cipher": cipher, "size": 64, "batch": 16, "nanoseconds": ns,
                   "lower": ns, "upper": ns, "bytes": 160, "allocations": 16})
        };
        json!({"bench": "overhead", "machine": {"cpu": "a <b>"}, "busy": true, "foreign_cpus": 0.7, "missing": ["redis & more"],
               "stages": [cell("seal", "nil", 160.0), cell("seal", "sealed", 480.0), cell("log", "nil", 100.0), cell("log", "sealed", 90.0)],
               "scenarios": []})
    }

    #[test]
    fn a_page_stands_alone_and_says_what_is_wrong_with_its_record() {
        let page = html(&record()).unwrap();
        assert!(page.contains("0.70 CPUs") && page.contains("redis &amp; more") && page.contains("a &lt;b&gt;"));
        assert!(!page.contains("<script") && !page.contains("src="), "nothing is loaded");
        let links = page.matches("http").count();
        assert_eq!(links, page.matches("http://www.w3.org/2000/svg").count(), "but the name of SVG");
        assert!(!page.contains("data-points=\"0\""), "every chart has data");
    }

    /// Goal: a real browser shows the page without a word on its console, in light and dark. Method: headless Chromium prints its
    /// console and the page as it stands, and keeps a picture below the system's directory for temporary files.
    #[test]
    fn a_browser_shows_the_page_without_an_error() {
        let Some(browser) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| has(name)) else {
            println!("NOT RUN: there is no Chromium here (apt-get install chromium)");
            return;
        };
        let dir = std::env::temp_dir().join(format!("sealkv-page-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("page.html");
        std::fs::write(&file, html(&record()).unwrap()).unwrap();
        for scheme in ["light", "dark"] {
            let picture = dir.join(format!("{scheme}.png"));
            let output = Command::new(browser)
                .args([
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--enable-logging=stderr",
                    "--window-size=1000,1800",
                ])
                .arg(format!("--user-data-dir={}", dir.join("profile").display()))
                .arg(format!("--blink-settings=preferredColorScheme={}", if scheme == "dark" { 0 } else { 1 }))
                .arg(format!("--screenshot={}", picture.display()))
                .args(["--dump-dom", &format!("file://{}", file.display())])
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && !said.contains("CONSOLE"), "{said}");
            assert!(std::fs::metadata(&picture).unwrap().len() > 10_000, "a picture of the page");
        }
        println!("pictures of the page: {}", dir.display());
    }

    fn has(program: &str) -> bool {
        Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
    }

    #[test]
    fn the_picture_shows_what_sealing_adds_to_an_entry() {
        let picture = picture(&record()).unwrap();
        // (480 - 160) / 16 entries, and nothing less than nothing for the log.
        assert!(picture.contains("+20 ns"), "{picture}");
        assert!(picture.starts_with("<svg") && picture.contains("prefers-color-scheme"));
    }
}
