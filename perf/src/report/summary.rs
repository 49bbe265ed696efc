//! What a record of `overhead` says in numbers that people ask for: the cost of encryption for one entry.

use serde_json::Value;

/// Nanoseconds, instructions, bytes and allocations of one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    pub nanoseconds: f64,
    pub instructions: Option<f64>,
    pub bytes: f64,
    pub allocations: f64,
}

/// A stage at one size and batch, nil and sealed.
#[derive(Clone, Debug)]
pub struct StageCost {
    pub direction: String,
    pub stage: String,
    pub size: u64,
    pub batch: u64,
    pub nil: Cost,
    pub sealed: Cost,
}

impl StageCost {
    /// Nanoseconds that sealing adds, at least none: below that it is noise.
    pub fn added(&self) -> f64 {
        (self.sealed.nanoseconds - self.nil.nanoseconds).max(0.0)
    }
}

/// All stages of a record, in its order; no cost is in two of them.
pub fn stages(record: &Value) -> Vec<StageCost> {
    let list = record["stages"].as_array().map_or(&[][..], Vec::as_slice);
    let sealed = |nil: &Value| {
        list.iter().find(|other| {
            other["cipher"] == "sealed"
                && ["direction", "stage", "size", "batch"].iter().all(|key| other[key] == nil[key])
        })
    };
    let nil = list.iter().filter(|stage| stage["cipher"] == "nil");
    let stages = nil.filter_map(|nil| {
        Some(StageCost {
            direction: nil["direction"].as_str()?.to_owned(),
            stage: nil["stage"].as_str()?.to_owned(),
            size: nil["size"].as_u64()?,
            batch: nil["batch"].as_u64()?,
            nil: cost(nil),
            sealed: cost(sealed(nil)?),
        })
    });
    without_opening(stages.collect())
}

/// A run opens its entries: what `open` has measured is not counted twice.
fn without_opening(mut stages: Vec<StageCost>) -> Vec<StageCost> {
    let opens: Vec<StageCost> = stages.iter().filter(|stage| stage.stage == "open").cloned().collect();
    for run in stages.iter_mut().filter(|stage| stage.stage == "run") {
        let Some(open) = opens.iter().find(|open| open.size == run.size && open.batch == run.batch) else { continue };
        for (run, open) in [(&mut run.nil, &open.nil), (&mut run.sealed, &open.sealed)] {
            run.nanoseconds = (run.nanoseconds - open.nanoseconds).max(0.0);
            run.instructions = run.instructions.zip(open.instructions).map(|(run, open)| (run - open).max(0.0));
            run.allocations = (run.allocations - open.allocations).max(0.0);
        }
    }
    stages
}

/// For one entry of the batch.
fn cost(stage: &Value) -> Cost {
    let batch = stage["entries"].as_f64().or(stage["batch"].as_f64()).unwrap_or(1.0);
    let of = |key: &str| stage[key].as_f64().map(|number| number / batch);
    Cost {
        nanoseconds: of("nanoseconds").unwrap_or(f64::NAN),
        instructions: of("instructions"),
        bytes: of("bytes").unwrap_or(0.0),
        allocations: of("allocations").unwrap_or(0.0),
    }
}

/// Sizes of a record, in order.
pub fn sizes(stages: &[StageCost]) -> Vec<u64> {
    let mut sizes: Vec<u64> = stages.iter().map(|stage| stage.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// The batch that the pictures show: 64 where it was measured for this size, else the largest.
pub fn shown_batch(stages: &[StageCost], size: u64) -> u64 {
    let batches: Vec<u64> = stages.iter().filter(|stage| stage.size == size).map(|stage| stage.batch).collect();
    if batches.contains(&64) { 64 } else { batches.into_iter().max().unwrap_or(1) }
}

/// A count where there is one.
pub fn count_words(count: Option<f64>) -> String {
    count.map_or("-".to_owned(), |count| format!("{count:.0}"))
}

/// A ratio with the interval that holds it, as `0.942 (0.757 to 1.086)`.
pub fn interval_words(ratio: &Value) -> String {
    let number = |key: &str| ratio[key].as_f64().unwrap_or(f64::NAN);
    format!("{:.3} ({:.3} to {:.3})", number("median"), number("lower"), number("upper"))
}

/// `64 B`, `4 KiB`.
pub fn size_words(size: u64) -> String {
    if size >= 1024 { format!("{} KiB", size / 1024) } else { format!("{size} B") }
}
