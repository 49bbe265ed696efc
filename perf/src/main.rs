//! `scripts/bench peers crypto`: AES-256-GCM of small and large messages, sealkv's tiers beside other libraries.
//!
//! One run interleaves all implementations over the same frames, on one core; every result is checked before it is
//! timed, and every opening has to succeed while it is. What comes out is a table and a record (JSON).

#![deny(missing_docs)]

mod arena;
mod ipsec;
mod limit;
mod machine;
mod names;
mod peers;
mod record;
mod run;
mod watch;

use std::process::ExitCode;

use crate::watch::FOREIGN_MAX;
use crate::watch::Watch;
use crate::watch::place_of;

/// What was asked for.
struct Options {
    sizes: Vec<usize>,
    seconds: f64,
    json: bool,
    record: Option<std::path::PathBuf>,
    filter: String,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1).collect()) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}");
            eprintln!("usage: peers crypto [--sizes 64,256,...] [--seconds S] [--only NAME] [--json] [--record FILE]");
            return ExitCode::from(2);
        }
    };
    let begun = Watch::new(&[]);
    let machine = machine::Machine::here();
    let limit = limit::measure(&machine);
    let (mut rows, mut missing) = (Vec::new(), Vec::new());
    eprintln!("{}", machine.line());
    for &size in &options.sizes {
        let batch;
        (batch, missing) = run::measure(size, &options.filter, options.seconds);
        if !options.json {
            record::print_table(size, &batch, &limit);
        }
        rows.extend(batch);
    }
    if options.filter.is_empty() || options.filter == "names" {
        let names = names::measure(options.seconds);
        if !options.json {
            names::print_table(&names);
        }
        rows.extend(names);
    }
    for name in &missing {
        eprintln!("MISSING: {name}");
    }
    let foreign_cpus = begun.foreign_cpus();
    if foreign_cpus > FOREIGN_MAX {
        eprintln!("others took {foreign_cpus:.2} CPUs meanwhile: these times are worth little");
    }
    let is_whole = missing.is_empty() && options.filter.is_empty();
    let mut record = record::record(&machine, &limit, &rows, foreign_cpus);
    (record["missing"], record["complete"]) = (missing.into(), is_whole.into());
    if options.json {
        println!("{record}");
    }
    if let Some(path) = options.record {
        let path = place_of(&path, foreign_cpus > FOREIGN_MAX);
        if let Err(error) = std::fs::write(&path, format!("{record}\n")) {
            eprintln!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
        eprintln!("record: {}", path.display());
    }
    ExitCode::SUCCESS
}

fn options(arguments: Vec<String>) -> Result<Options, String> {
    let mut options = Options {
        sizes: vec![64, 256, 512, 1024, 4096, 16384, 65536],
        seconds: 0.4,
        json: false,
        record: None,
        filter: String::new(),
    };
    let mut arguments = arguments.into_iter();
    for expected in ["peers", "crypto"] {
        if arguments.next().as_deref() != Some(expected) {
            return Err("there is one bench so far: peers crypto".to_owned());
        }
    }
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{name} needs a value"));
        match name.as_str() {
            "--sizes" => {
                let sizes: Result<Vec<usize>, _> = value()?.split(',').map(str::parse).collect();
                options.sizes = sizes.map_err(|error| format!("--sizes: {error}"))?;
                if options.sizes.iter().any(|&size| size > 1 << 20) {
                    return Err("--sizes: at most 1 MiB".to_owned());
                }
            }
            "--seconds" => options.seconds = value()?.parse().map_err(|error| format!("--seconds: {error}"))?,
            "--only" => options.filter = value()?,
            "--json" => options.json = true,
            "--record" => options.record = Some(value()?.into()),
            _ => return Err(format!("unknown: {name}")),
        }
    }
    Ok(options)
}
