//! Changes inputs as fuzzers do, from a seed and without feedback: for decoders, which must take any bytes at all.

use crate::testing::seed::Seeded;

/// Inputs that change from one to the next; the first ones are good.
#[derive(Debug)]
pub struct Mutator {
    chance: Seeded,
    good: Vec<Vec<u8>>,
    corpus: Vec<Vec<u8>>,
    bytes_max: usize,
}

impl Mutator {
    /// Begins with `good` inputs; none becomes longer than `bytes_max`.
    ///
    /// # Panics
    /// Without any.
    #[must_use]
    pub fn new(chance: Seeded, good: &[Vec<u8>], bytes_max: usize) -> Mutator {
        assert!(!good.is_empty(), "a mutator begins with something");
        let corpus = (0..CORPUS).map(|at| good[at % good.len()].clone()).collect();
        Mutator { chance, good: good.to_vec(), corpus, bytes_max }
    }

    /// The next input. It takes a place among those that later ones are made from.
    pub fn next_input(&mut self) -> Vec<u8> {
        let [from, other, to] = [(); 3].map(|()| self.chance.index(CORPUS));
        // What is far from a good input is refused at its first field, like everything else that is.
        let is_anew = self.chance.one_in(3);
        let mut input =
            if is_anew { self.good[self.chance.index(self.good.len())].clone() } else { self.corpus[from].clone() };
        for _ in 0..=self.chance.index(CHANGES_MAX) {
            self.change(&mut input, other);
        }
        input.truncate(self.bytes_max);
        self.corpus[to].clone_from(&input);
        input
    }

    /// Bits, bytes at the edges of widths, pieces cut, doubled and taken from another input.
    fn change(&self, input: &mut Vec<u8>, other: usize) {
        let chance = &self.chance;
        let at = chance.index(input.len() + 1);
        match chance.below(6) {
            0 if at < input.len() => input[at] ^= 1 << chance.below(8),
            1 if at < input.len() => input[at] = chance.pick(&EDGES),
            2 => input.truncate(at),
            3 => input.insert(at, chance.pick(&EDGES)),
            4 => {
                let piece = input[at..(at + chance.index(PIECE_BYTES_MAX)).min(input.len())].to_vec();
                input.splice(at..at, piece);
            }
            _ => {
                let other = &self.corpus[other];
                let from = chance.index(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
}

const CORPUS: usize = 32;
const CHANGES_MAX: usize = 4;
const PIECE_BYTES_MAX: usize = 64;
const EDGES: [u8; 9] = [0, 1, 2, 7, 31, 64, 127, 128, 255];
