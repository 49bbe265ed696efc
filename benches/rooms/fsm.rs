//! What the data means: commands of an entry executed, GETs of rows in the table and of rows that only the base has.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;

use sealkv::fsm::codec::Payload;
use sealkv::fsm::command::KeyReply;
use sealkv::fsm::command::ReadCommand;
use sealkv::fsm::kv::KeyAnswer;
use sealkv::fsm::kv::read_keys_as_leader;
use sealkv::fsm::name::Database;
use sealkv::fsm::naming::names_of_batch;
use sealkv::fsm::overlay::Overlay;
use sealkv::fsm::reader::RowReader;
use sealkv::ids::Index;
use sealkv::testing::base::MemoryBase;
use sealkv::testing::base::NoCipher;
use sealkv::testing::base::reader_of;
use sealkv::testing::workload::Scale;
use sealkv::testing::workload::Workload;

use crate::applier::Applier;
use crate::applier::log_of_sets;
use crate::bench::Bench;
use crate::bench::Way;

const SIZES: [usize; 3] = [64, 256, 4096];
const BATCHES: [usize; 3] = [1, 16, 64];
/// Rows of the table or base that is read.
const ROWS: usize = 256;

pub fn all(scale: Scale) -> Vec<Bench> {
    let mut benches = Vec::new();
    for size in scale.of(&SIZES) {
        for count in scale.of(&BATCHES) {
            benches.push(executing(count, size));
            benches.push(getting("nil", "table", count, size));
            for cipher in ["nil", "sealed"] {
                benches.push(getting(cipher, "base", count, size));
            }
        }
    }
    benches
}

/// One entry of plain SETs, which read nothing: decoded, named, executed on an empty state.
fn executing(count: usize, size: usize) -> Bench {
    let name = format!("fsm::execute/command=set size={size} count={count}");
    Bench::new(name, (count, count * size), count as u64, move || {
        let reader = reader_of(Arc::new(MemoryBase::default()), Arc::new(NoCipher));
        let key = reader.name_key().expect("names need no cipher");
        let payload = Workload::new(1).payload(count, size);
        Way::again(move || {
            let Ok(Payload::Batch(batch)) = Payload::decode(black_box(&payload)) else { return 0 };
            let names = names_of_batch(&batch, &key);
            let mut overlay = Overlay::new();
            let sealed = Some([0; 16].into());
            let mut context = overlay.begin(&reader, Index(7), 1, sealed, &batch, &names).expect("no conditions");
            let mut done = 0;
            for write in batch.commands() {
                done += u64::from(overlay.execute(&reader, write, &mut context).is_ok());
            }
            done
        })
    })
}

/// GETs that came together, answered. A row of the table is open; one of the base is fetched and opened.
pub fn getting(cipher: &'static str, place: &'static str, count: usize, size: usize) -> Bench {
    let name = match place {
        "table" => format!("fsm::get/place=table size={size} count={count}"),
        _ => format!("fsm::get/place=base cipher={cipher} size={size} count={count}"),
    };
    Bench::new(name, (count, count * size), (count * size) as u64, move || {
        let (log, _) = log_of_sets(cipher, ROWS, size);
        let mut applier = Applier::founded();
        applier.run(&log);
        if place == "base" {
            applier.apply.flush().expect("a base in memory takes it");
            applier = Applier::on(Arc::clone(&applier.base));
        }
        let reads: Vec<(Database, ReadCommand)> =
            (0..count).map(|number| (Database::FIRST, ReadCommand::Get { key: Workload::key(number) })).collect();
        let reader = applier.reader.clone();
        Way::again(move || {
            let _ = &applier;
            bytes_of(&reader, black_box(&reads))
        })
    })
}

/// Bytes of the values that the reads found.
fn bytes_of(reader: &RowReader, reads: &[(Database, ReadCommand)]) -> u64 {
    let (mut bytes, answered) = (0, Cell::new(0));
    let mut visit = |answer: KeyAnswer<'_>| {
        answered.set(answered.get() + 1);
        if let KeyAnswer::Reply(KeyReply::Bulk(value)) = answer {
            bytes += value.len() as u64;
        }
        true
    };
    // A call answers fewer where values are large, and the next one goes on behind them.
    let mut rest = reads;
    while !rest.is_empty() {
        if read_keys_as_leader(reader, rest, 9, &mut visit).is_err() {
            return 0;
        }
        rest = &reads[answered.get()..];
    }
    bytes
}
