//! One bit flipped, then a whole start: refused by name, or everything that was acknowledged is served.

use std::path::PathBuf;

use sealkv::testing::seed::Seeded;
use sealkv::testing::seed::runs;

use crate::attacks::BLOCK;
use crate::attacks::End;
use crate::attacks::Victim;
use crate::attacks::read_at;

#[test]
fn a_flipped_bit_of_log_or_identity_is_refused_by_name_or_changes_nothing() {
    let (mut victim, chance) = (Victim::killed(), Seeded::fresh());
    let (flips, mut refused) = (runs(CI_FLIPS), 0);
    for at in 0..flips {
        let identity = victim.site.data().join("IDENTITY");
        let identity_bytes = std::fs::metadata(&identity).unwrap().len();
        // Where everything stands.
        let full_slot = victim.newest_slot();
        let (path, offset): (PathBuf, u64) = if at % 5 == 0 {
            (identity.clone(), chance.below(identity_bytes))
        } else {
            let slot = if chance.one_in(4) { victim.slots().swap_remove(chance.index(4)) } else { full_slot.clone() };
            let offsets = std::iter::repeat_with(|| chance.below(64 * BLOCK));
            // Zeros are mostly padding, which nobody reads.
            let offset = offsets.take(500).find(|offset| read_at(&slot, *offset, 1) != [0]);
            (slot, offset.unwrap_or(0))
        };
        let flipped = vec![read_at(&path, offset, 1)[0] ^ (1 << chance.below(8))];
        match victim.with_log_edit(&path, &[(offset, flipped)]) {
            End::Whole => {
                assert!(path != identity, "bit of IDENTITY byte {offset}");
                // This start has begun another segment, and what it needs of the one before it may be nothing.
                victim = Victim::killed();
            }
            End::Refused(_, output) => {
                let names = if path == identity { ["IDENTITY", "identity"] } else { ["segment", "slot"] };
                assert!(
                    names.iter().any(|name| output.contains(name)),
                    "byte {offset} of {}: {output}",
                    path.display()
                );
                refused += 1;
            }
        }
    }
    println!("{flips} starts, {refused} refused");
    println!("{flips} tried, 0 failed");
    assert!(refused * 4 >= flips, "vacuous: {refused} of {flips} refused");
}

/// `scripts/slow bit-flips` makes 300.
const CI_FLIPS: u64 = 15;
