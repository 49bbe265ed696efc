//! What the CPU could do: its own throughput of AES rounds and carry-less products, each mix measured as a loop without
//! memory and without dependencies that matter.
//!
//! A vector of text costs 14 rounds and a product of four multiplications (or three and more of other work); a message
//! costs a block of AES for its tag's mask and the products of AAD, lengths and reduction. Messages share vectors for
//! the latter, as many as a vector has blocks. Nothing can be faster with these instructions; loads, stores and shuffles
//! are not even counted.

use crate::machine::Machine;
#[cfg(target_arch = "x86_64")]
use crate::machine::clock_once;

/// Cycles for the mixes of one tier.
pub struct Mix {
    /// As [`sealkv::crypto::aead::Tier::name`].
    pub tier: &'static str,
    /// Bytes in a vector.
    pub bytes: usize,
    /// Cycles of a vector of text.
    pub vector_cycles: f64,
    /// Cycles of what is done once for as many messages as a vector has blocks.
    pub shared_cycles: f64,
}

/// The limits of this CPU.
pub struct Limit {
    /// One for each width.
    pub mixes: Vec<Mix>,
    /// Cycles in a nanosecond.
    pub ghz: f64,
}

impl Limit {
    /// Nanoseconds for a message of `size` bytes in `tier`, if it has a limit.
    pub fn nanoseconds(&self, tier: &str, size: usize) -> Option<f64> {
        let mix = self.mixes.iter().find(|mix| mix.tier == tier)?;
        let vectors = size.div_ceil(mix.bytes) as f64;
        Some((vectors * mix.vector_cycles + mix.shared_cycles * 16.0 / mix.bytes as f64) / self.ghz)
    }
}

/// Measures.
pub fn measure(machine: &Machine) -> Limit {
    Limit { mixes: mixes(), ghz: machine.ghz }
}

#[cfg(not(target_arch = "x86_64"))]
fn mixes() -> Vec<Mix> {
    Vec::new()
}

#[cfg(target_arch = "x86_64")]
fn mixes() -> Vec<Mix> {
    use sealkv::crypto::aead::Tier;
    let has = |tier: Tier| tier.key(&[0; 32]).is_some();
    let mut mixes = Vec::new();
    if has(Tier::Vaes512) {
        let vector = fastest(x86::zmm_four).min(fastest(x86::zmm_three));
        mixes.push(Mix { tier: "vaes512", bytes: 64, vector_cycles: vector, shared_cycles: fastest(x86::zmm_shared) });
    }
    if has(Tier::Vaes256) {
        let vector = fastest(x86::ymm_four).min(fastest(x86::ymm_three));
        mixes.push(Mix { tier: "vaes256", bytes: 32, vector_cycles: vector, shared_cycles: fastest(x86::ymm_shared) });
    }
    if has(Tier::AesNi) {
        let vector = fastest(x86::xmm_four).min(fastest(x86::xmm_three));
        mixes.push(Mix { tier: "aesni", bytes: 16, vector_cycles: vector, shared_cycles: fastest(x86::xmm_shared) });
    }
    mixes
}

/// Cycles of one turn of a loop, the least of many tries.
#[cfg(target_arch = "x86_64")]
fn fastest(turns: unsafe fn(u64)) -> f64 {
    const TURNS: u64 = 20_000;
    let (mut least, mut ghz) = (f64::MAX, 0f64);
    for _ in 0..60 {
        // Clock and loop in turns: the clock of the core drifts. Others on the core make both slower, never faster.
        ghz = ghz.max(clock_once());
        let begin = std::time::Instant::now();
        // SAFETY: the caller checked that the CPU has the instructions.
        unsafe { turns(TURNS) };
        least = least.min(begin.elapsed().as_nanos() as f64);
    }
    least * ghz / TURNS as f64
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! The loops. Registers 0 to 11 take AES rounds, 12 is the key, 13 to 15 take products.

    use std::arch::asm;

    /// A loop of the given instructions, and what comes after it: upper halves that are in use slow legacy code down.
    macro_rules! turns {
        ($name:ident, $end:literal: $($line:expr),* $(,)?) => {
            /// `count` turns.
            ///
            /// # Safety
            /// The CPU has the instructions.
            pub unsafe fn $name(count: u64) {
                // SAFETY: changes registers only.
                unsafe {
                    asm!(
                        "2:", $($line,)* "sub {0}, 1", "jnz 2b", $end, inout(reg) count => _,
                        out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                        out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                        out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                        options(nomem, nostack)
                    );
                }
            }
        };
    }
    macro_rules! vex {
        (aes $r:literal $n:literal) => {
            concat!("vaesenc ", $r, $n, ", ", $r, $n, ", ", $r, "12")
        };
        (mul $r:literal $n:literal) => {
            concat!("vpclmulqdq ", $r, $n, ", ", $r, "12, ", $r, "12, 0x10")
        };
        (turn $r:literal $n:literal) => {
            concat!("vpshufd ", $r, $n, ", ", $r, "12, 78")
        };
        (add $r:literal $n:literal) => {
            concat!("vpaddd ", $r, $n, ", ", $r, "12, ", $r, "12")
        };
    }
    macro_rules! vex_turns {
        ($four:ident $three:ident $shared:ident $r:literal) => {
            turns!($four, "vzeroupper":
                vex!(aes $r 0), vex!(aes $r 1), vex!(aes $r 2), vex!(mul $r 13), vex!(aes $r 3), vex!(aes $r 4),
                vex!(aes $r 5), vex!(aes $r 6), vex!(mul $r 14), vex!(aes $r 7), vex!(aes $r 8), vex!(aes $r 9),
                vex!(mul $r 15), vex!(aes $r 10), vex!(aes $r 11), vex!(aes $r 0), vex!(aes $r 1), vex!(mul $r 13));
            turns!($three, "vzeroupper":
                vex!(aes $r 0), vex!(aes $r 1), vex!(aes $r 2), vex!(mul $r 13), vex!(aes $r 3), vex!(aes $r 4),
                vex!(aes $r 5), vex!(aes $r 6), vex!(mul $r 14), vex!(aes $r 7), vex!(aes $r 8), vex!(aes $r 9),
                vex!(mul $r 15), vex!(aes $r 10), vex!(aes $r 11), vex!(aes $r 0), vex!(aes $r 1),
                vex!(turn $r 13), vex!(add $r 14), vex!(turn $r 15), vex!(add $r 13), vex!(add $r 14));
            turns!($shared, "vzeroupper":
                vex!(aes $r 0), vex!(mul $r 13), vex!(aes $r 1), vex!(aes $r 2), vex!(mul $r 14), vex!(aes $r 3),
                vex!(aes $r 4), vex!(mul $r 15), vex!(aes $r 5), vex!(aes $r 6), vex!(mul $r 13), vex!(aes $r 7),
                vex!(aes $r 8), vex!(mul $r 14), vex!(aes $r 9), vex!(aes $r 10), vex!(mul $r 15), vex!(aes $r 11),
                vex!(aes $r 0), vex!(mul $r 13), vex!(aes $r 1));
        };
    }
    vex_turns!(zmm_four zmm_three zmm_shared "zmm");
    vex_turns!(ymm_four ymm_three ymm_shared "ymm");

    macro_rules! legacy {
        (aes $n:literal) => {
            concat!("aesenc xmm", $n, ", xmm12")
        };
        (mul $n:literal) => {
            concat!("movdqa xmm", $n, ", xmm12\npclmulqdq xmm", $n, ", xmm12, 0x10")
        };
        (turn $n:literal) => {
            concat!("pshufd xmm", $n, ", xmm12, 78")
        };
        (move $n:literal) => {
            concat!("movdqa xmm", $n, ", xmm12")
        };
    }
    turns!(xmm_four, "":
        legacy!(aes 0), legacy!(aes 1), legacy!(aes 2), legacy!(mul 13), legacy!(aes 3), legacy!(aes 4),
        legacy!(aes 5), legacy!(aes 6), legacy!(mul 14), legacy!(aes 7), legacy!(aes 8), legacy!(aes 9),
        legacy!(mul 15), legacy!(aes 10), legacy!(aes 11), legacy!(aes 0), legacy!(aes 1), legacy!(mul 13));
    turns!(xmm_three, "":
        legacy!(aes 0), legacy!(aes 1), legacy!(aes 2), legacy!(mul 13), legacy!(aes 3), legacy!(aes 4),
        legacy!(aes 5), legacy!(aes 6), legacy!(mul 14), legacy!(aes 7), legacy!(aes 8), legacy!(aes 9),
        legacy!(mul 15), legacy!(aes 10), legacy!(aes 11), legacy!(aes 0), legacy!(aes 1),
        legacy!(turn 13), legacy!(move 14), legacy!(turn 15), legacy!(move 13), legacy!(move 14));
    turns!(xmm_shared, "":
        legacy!(aes 0), legacy!(mul 13), legacy!(aes 1), legacy!(aes 2), legacy!(mul 14), legacy!(aes 3),
        legacy!(aes 4), legacy!(mul 15), legacy!(aes 5), legacy!(aes 6), legacy!(mul 13), legacy!(aes 7),
        legacy!(aes 8), legacy!(mul 14), legacy!(aes 9), legacy!(aes 10), legacy!(mul 15), legacy!(aes 11),
        legacy!(aes 0), legacy!(mul 13), legacy!(aes 1));
}
