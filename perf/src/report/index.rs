//! `scripts/bench` without arguments: one page of all suites, with the goals on top and what each suite said.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::chart::escape;
use crate::goals;
use crate::page;
use crate::read_record;
use crate::write;

/// A line of `suites.tsv`: `name TAB status TAB seconds TAB command`.
struct Suite {
    name: String,
    status: String,
    seconds: String,
    command: String,
}

/// Writes `index.html` of a directory of results.
pub fn run(directory: &Path) -> Result<(), String> {
    let list = directory.join("suites.tsv");
    let text =
        fs::read_to_string(&list).map_err(|problem| format!("{}: {problem}: the run has not ended", list.display()))?;
    let suites: Vec<Suite> = text.lines().filter_map(suite).collect();
    let out = directory.join("index.html");
    write(&out, &html(directory, &suites))?;
    println!("report: {}", out.display());
    let failed: Vec<&str> = suites.iter().filter(|suite| suite.status != "0").map(|suite| &suite.name[..]).collect();
    match failed.is_empty() {
        true => Ok(()),
        false => Err(format!("not measured, see the report: {}", failed.join(", "))),
    }
}

fn suite(line: &str) -> Option<Suite> {
    let mut cells = line.splitn(4, '\t').map(str::to_owned);
    Some(Suite { name: cells.next()?, status: cells.next()?, seconds: cells.next()?, command: cells.next()? })
}

fn html(directory: &Path, suites: &[Suite]) -> String {
    let mut body = String::new();
    let records = |name: &str| ["", "-busy"].map(|end| format!("{name}{end}"));
    let first =
        records("overhead").into_iter().find_map(|name| read_record(&directory.join(name).with_extension("json")).ok());
    let record = first.unwrap_or(Value::Null);
    if let Some(chart) = page::added(&record) {
        let _ = write!(
            body,
            "{}<h2>Nanoseconds that sealing adds to one entry</h2>{chart}{}",
            page::head(&record),
            goals::html(&record)
        );
    }
    body += "<h2>Suites</h2><table><tr><th>suite</th><th></th><th>seconds</th></tr>";
    for suite in suites {
        let pages = records(&suite.name).into_iter().map(|name| format!("{name}.html"));
        let links: String = pages
            .filter(|page| directory.join(page).exists())
            .map(|page| format!(" <a href=\"{page}\">page</a>"))
            .collect();
        let outcome = if suite.status == "0" { "measured" } else { "NOT MEASURED" };
        let _ = write!(
            body,
            "<tr><td>{}{links}<br><small>{}</small></td><td>{outcome}</td><td>{}</td></tr>",
            escape(&suite.name),
            escape(&suite.command),
            escape(&suite.seconds)
        );
    }
    body += "</table>";
    for suite in suites {
        let said = fs::read_to_string(directory.join(format!("{}.txt", suite.name))).unwrap_or_default();
        let _ = write!(body, "<h2>{}</h2><pre>{}</pre>", escape(&suite.name), escape(said.trim()));
    }
    page::whole("All suites", &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_was_ended_has_no_page_and_a_failed_suite_is_named() {
        let directory = std::env::temp_dir().join(format!("sealkv-index-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let problem = run(&directory).unwrap_err();
        assert!(problem.contains("has not ended"), "{problem}");
        fs::write(directory.join("suites.tsv"), "gates\t0\t30\tbench gates\nnode\t1\t2\tbench peers node\n").unwrap();
        fs::write(directory.join("node.txt"), "no <port>\n").unwrap();
        let problem = run(&directory).unwrap_err();
        assert!(problem.ends_with("see the report: node"), "{problem}");
        let page = fs::read_to_string(directory.join("index.html")).unwrap();
        assert!(
            page.contains("no &lt;port&gt;") && page.contains("NOT MEASURED") && !page.contains("overhead"),
            "{page}"
        );
        fs::remove_dir_all(&directory).unwrap();
    }
}
