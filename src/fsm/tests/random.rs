//! Random entries: against the model, and against themselves cut into other runs.

use std::collections::BTreeMap;

use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::command::WriteCommand;
use crate::fsm::overlay::Overlay;
use crate::fsm::table_row::SealedBy;
use crate::fsm::tests::kit::MapBase;
use crate::fsm::tests::kit::batch;
use crate::fsm::tests::kit::names;
use crate::fsm::tests::kit::payload;
use crate::fsm::tests::kit::random_write;
use crate::fsm::tests::kit::read;
use crate::fsm::tests::model::Model;
use crate::fsm::tests::model::ModelRow;
use crate::ids::Index;
use crate::testing::seed::Seeded;

const FIRST_INDEX: u64 = 2;

/// One entry: its stamp and its commands.
type Entry = (u64, Vec<WriteCommand>);

fn random_entries(rng: &Seeded, count: usize) -> Vec<Entry> {
    let mut stamp_ms = 1000;
    let mut entry = || {
        stamp_ms += rng.pick(&[0, 0, 1, 5, 40, 150]);
        (stamp_ms, (0..=rng.index(8)).map(|_| random_write(rng, stamp_ms)).collect())
    };
    (0..count).map(|_| entry()).collect()
}

/// Runs the entries, the next run cut where `ends_run` says so after an entry; all replies, and the rows.
fn run(entries: &[Entry], mut ends_run: impl FnMut() -> bool) -> (Vec<Reply>, MapBase) {
    let mut base = MapBase::default();
    let mut overlay = Overlay::new();
    let mut replies = Vec::new();
    for (index, (stamp_ms, writes)) in (FIRST_INDEX..).zip(entries) {
        let payload = payload(*stamp_ms, writes);
        let batch = batch(&payload);
        let tag = (index % 2 == 0).then_some([7; 16]);
        let (names, sealed) = (names(&batch), tag.map(SealedBy::from));
        let mut context = overlay.begin(&base, Index(index), batch.stamp_ms, sealed, &batch, &names).unwrap();
        for write in batch.commands() {
            replies.push(overlay.execute(&base, write, &mut context).unwrap());
        }
        assert_live_counts_agree(&overlay, &base, *stamp_ms);
        if ends_run() {
            base.apply(std::mem::take(&mut overlay).into_changes());
        }
    }
    base.apply(overlay.into_changes());
    (replies, base)
}

fn assert_live_counts_agree(overlay: &Overlay, base: &MapBase, now_ms: u64) {
    let mut merged = base.clone();
    let counted = read(&overlay.view(base), &ReadCommand::Count, now_ms).unwrap();
    merged.apply(overlay.clone().into_changes());
    assert_eq!(counted, read(&merged, &ReadCommand::Count, now_ms).unwrap());
}

#[test]
fn random_entries_do_what_the_model_does() {
    let rng = Seeded::fresh();
    for _ in 0..300 {
        let entries = random_entries(&rng, 30);
        let (replies, base) = run(&entries, || rng.index(4) == 0);
        let mut model = Model::default();
        let mut expected = Vec::new();
        for (index, (stamp_ms, writes)) in (FIRST_INDEX..).zip(&entries) {
            model.begin(index, *stamp_ms);
            expected.extend(writes.iter().map(|write| model.run(write)));
        }
        let writes: Vec<&WriteCommand> = entries.iter().flat_map(|(_, writes)| writes).collect();
        for ((write, reply), expected) in writes.iter().zip(&replies).zip(&expected) {
            if !matches!(write, WriteCommand::RemoveExpired { .. }) {
                assert_eq!(reply, expected, "{write:?}");
            }
        }
        let last_stamp = entries.last().unwrap().0;
        let live = |expire_at_ms: u64| expire_at_ms == 0 || expire_at_ms > last_stamp;
        let found: BTreeMap<Vec<u8>, ModelRow> = base
            .by_key()
            .into_iter()
            .filter(|(_, (value, _))| live(value.expire_at_ms))
            .map(|(key, (value, at))| {
                assert_eq!(value.last_change, at.index);
                assert_eq!(at.entry_tag().is_some(), at.index.0 % 2 == 0);
                let (index, op) = (at.index.0, at.op);
                (key, ModelRow { bytes: value.bytes.to_vec(), expire_at_ms: value.expire_at_ms, index, op })
            })
            .collect();
        model.rows.retain(|_, row| live(row.expire_at_ms));
        assert_eq!(found, model.rows);
    }
}

/// Goal: replicas that cut the same entries into other runs hold the same bytes, index and op of every row included.
#[test]
fn same_bytes_however_entries_are_cut_into_runs() {
    let rng = Seeded::fresh();
    for _ in 0..200 {
        let entries = random_entries(&rng, 30);
        let each_alone = run(&entries, || true);
        assert_eq!(run(&entries, || false), each_alone);
        assert_eq!(run(&entries, || rng.index(3) == 0), each_alone);
    }
}
