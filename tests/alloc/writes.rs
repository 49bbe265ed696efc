//! Writes: runs that overwrite the rows of a table.

use std::sync::Arc;

use sealkv::crypto::names::ClearNameKey;
use sealkv::crypto::names::NameKey;
use sealkv::fsm::base::RowBase;
use sealkv::fsm::base::StateRows;
use sealkv::fsm::name::Database;
use sealkv::fsm::name::RowName;
use sealkv::fsm::naming::name_of;
use sealkv::fsm::row::Effects;
use sealkv::fsm::sized_rows::Bury;
use sealkv::fsm::table_row::RowBytes;
use sealkv::fsm::table_row::TableRow;
use sealkv::fsm::table_row::WrittenAt;
use sealkv::fsm::view::ViewWriter;
use sealkv::ids::ClusterId;
use sealkv::ids::Index;
use sealkv::ids::Position;
use sealkv::ids::Term;
use sealkv::testing::base::MemoryBase;

use crate::allocations;

/// The map of the run, with its pointer, and the new view.
const PER_RUN: u64 = 3;

/// Goal: values of one size that are written again and again take the memory of those before them.
#[test]
fn a_run_that_overwrites_rows_asks_for_no_memory_for_them() {
    let base = MemoryBase::new(StateRows { applied: Vec::new(), keyring: None });
    let (base, bury): (Arc<dyn RowBase>, Bury) = (Arc::new(base), Arc::new(drop));
    let mut writer = ViewWriter::new(base, Position::default(), 0, &bury);
    let key = NameKey::clear(&ClearNameKey([7; 32]), ClusterId([1; 16]));
    let names: Vec<RowName> =
        (0..1000_u32).map(|number| name_of(Database::FIRST, &number.to_be_bytes(), &key)).collect();
    let mut run = |index: u64, bytes: usize| {
        let value = vec![index as u8; bytes];
        let mut work = || {
            let mut effects = Effects::default();
            effects.reserve(names.len());
            for name in &names {
                let at = WrittenAt::new(Index(index), 0, None);
                effects.set(*name, Some(TableRow::new(b"a key", RowBytes::Copied(&value), 0, at)));
            }
            writer.publish(effects, Position { term: Term(1), index: Index(index) }, 5);
            writer.merge();
        };
        allocations(&mut work)
    };
    let first = run(1, 256);
    assert!(first >= 1000, "{first}: there is nothing to take");
    run(2, 256);
    // From here on the places of the merge are as long as they become.
    for (index, bytes) in (3..).zip([256, 250, 256, 230]) {
        let asked = run(index, bytes);
        assert!(asked <= PER_RUN, "{asked} for values of {bytes} bytes");
    }
    let larger = run(7, 900);
    assert!(larger >= 1000, "{larger}: none is so large");
}
