//! Assembly for YMM registers: AES rounds on several vectors, alone and with a product between them.
//!
//! LLVM runs such chains one after another to save registers, and moves products out from between them; both cost a
//! quarter of the speed and more (findings/crypto.md section 3). What stands in one block stays as it is written.

use core::arch::asm;
use core::arch::x86_64::*;

use crate::crypto::aead::lanes::avx2::ymm::Ymm;
use crate::crypto::aead::lanes::hash::Sum;
use crate::crypto::aead::lanes::vector::RoundKeys;

/// AES-256 of several vectors.
macro_rules! aes_function {
    ($name:ident, $count:literal, $($x:ident $i:literal)*) => {
        #[target_feature(enable = "avx2,vaes")]
        #[inline]
        pub(super) unsafe fn $name(keys: &RoundKeys, x: &mut [Ymm; $count]) {
            // SAFETY: reads the round keys, changes the named registers.
            unsafe {
                asm!(
                    "vbroadcasti128 ymm15, [{keys}]",
                    $(concat!("vpxor {", stringify!($x), "}, {", stringify!($x), "}, ymm15"),)*
                    ".set o, 16", ".rept 13",
                    "vbroadcasti128 ymm15, [{keys} + o]",
                    $(concat!("vaesenc {", stringify!($x), "}, {", stringify!($x), "}, ymm15"),)*
                    ".set o, o + 16", ".endr",
                    "vbroadcasti128 ymm15, [{keys} + 224]",
                    $(concat!("vaesenclast {", stringify!($x), "}, {", stringify!($x), "}, ymm15"),)*
                    $($x = inout(ymm_reg) x[$i].0,)*
                    out("ymm15") _, keys = in(reg) keys.as_ptr(),
                    options(pure, readonly, nostack, preserves_flags)
                );
            }
        }
    };
}
aes_function!(aes4, 4, a 0 b 1 c 2 d 3);
aes_function!(aes6, 6, a 0 b 1 c 2 d 3 e 4 f 5);
aes_function!(aes8, 8, a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7);
aes_function!(aes10, 10, a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7 i 8 j 9);

/// One operation on eight vectors with one round key.
macro_rules! round_function {
    ($name:ident, $operation:literal, $($x:ident $i:literal)*) => {
        #[target_feature(enable = "avx2,vaes")]
        #[inline]
        pub(super) unsafe fn $name<const ROUND: usize>(keys: &RoundKeys, x: &mut [Ymm; 8]) {
            // SAFETY: reads the round key, changes the named registers.
            unsafe {
                asm!(
                    "vbroadcasti128 ymm15, [{keys} + {at}]",
                    $(concat!($operation, " {", stringify!($x), "}, {", stringify!($x), "}, ymm15"),)*
                    $($x = inout(ymm_reg) x[$i].0,)*
                    out("ymm15") _, keys = in(reg) keys.as_ptr(), at = const ROUND * 16,
                    options(readonly, nostack, preserves_flags)
                );
            }
        }
    };
}
round_function!(whiten8, "vpxor", a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7);
round_function!(last8, "vaesenclast", a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7);

/// One middle round of eight vectors, with a product that is added to a sum between them.
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
#[inline]
pub(super) unsafe fn round8_add<const ROUND: usize>(
    keys: &RoundKeys,
    x: &mut [Ymm; 8],
    sum: Sum<Ymm>,
    blocks: Ymm,
    h: Ymm,
    d: Ymm,
) -> Sum<Ymm> {
    let (mut r, mut f) = (sum.r.0, sum.f.0);
    let _t: __m256i;
    // SAFETY: reads the round key, changes the named registers.
    unsafe {
        asm!(
            "vbroadcasti128 ymm15, [{keys} + {at}]",
            "vpclmulqdq {t}, {blocks}, {d}, 0x10",
            "vaesenc {x0}, {x0}, ymm15", "vaesenc {x1}, {x1}, ymm15",
            "vpxor {r}, {r}, {t}",
            "vpclmulqdq {t}, {blocks}, {h}, 0x11",
            "vaesenc {x2}, {x2}, ymm15", "vaesenc {x3}, {x3}, ymm15",
            "vpxor {r}, {r}, {t}",
            "vpclmulqdq {t}, {blocks}, {d}, 0x00",
            "vaesenc {x4}, {x4}, ymm15", "vaesenc {x5}, {x5}, ymm15",
            "vpxor {f}, {f}, {t}",
            "vpclmulqdq {t}, {blocks}, {h}, 0x01",
            "vaesenc {x6}, {x6}, ymm15", "vaesenc {x7}, {x7}, ymm15",
            "vpxor {f}, {f}, {t}",
            x0 = inout(ymm_reg) x[0].0, x1 = inout(ymm_reg) x[1].0, x2 = inout(ymm_reg) x[2].0,
            x3 = inout(ymm_reg) x[3].0, x4 = inout(ymm_reg) x[4].0, x5 = inout(ymm_reg) x[5].0,
            x6 = inout(ymm_reg) x[6].0, x7 = inout(ymm_reg) x[7].0,
            blocks = in(ymm_reg) blocks.0, h = in(ymm_reg) h.0, d = in(ymm_reg) d.0,
            r = inout(ymm_reg) r, f = inout(ymm_reg) f, t = out(ymm_reg) _t,
            out("ymm15") _, keys = in(reg) keys.as_ptr(), at = const ROUND * 16,
            options(readonly, nostack, preserves_flags)
        );
    }
    Sum { r: Ymm(r), f: Ymm(f) }
}

/// A middle round of eight vectors, with half of a product that is added to half of a sum between them.
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
#[inline]
pub(super) unsafe fn round8_half<const ROUND: usize, const HALF: i32>(
    keys: &RoundKeys,
    x: &mut [Ymm; 8],
    sum: Ymm,
    blocks: Ymm,
    h: Ymm,
    d: Ymm,
) -> Ymm {
    let mut sum = sum.0;
    let _t: __m256i;
    // SAFETY: reads the round key, changes the named registers.
    unsafe {
        asm!(
            "vbroadcasti128 ymm15, [{keys} + {at}]",
            "vpclmulqdq {t}, {blocks}, {d}, {with_d}",
            "vaesenc {x0}, {x0}, ymm15", "vaesenc {x1}, {x1}, ymm15", "vaesenc {x2}, {x2}, ymm15",
            "vaesenc {x3}, {x3}, ymm15",
            "vpxor {sum}, {sum}, {t}",
            "vpclmulqdq {t}, {blocks}, {h}, {with_h}",
            "vaesenc {x4}, {x4}, ymm15", "vaesenc {x5}, {x5}, ymm15", "vaesenc {x6}, {x6}, ymm15",
            "vaesenc {x7}, {x7}, ymm15",
            "vpxor {sum}, {sum}, {t}",
            x0 = inout(ymm_reg) x[0].0, x1 = inout(ymm_reg) x[1].0, x2 = inout(ymm_reg) x[2].0,
            x3 = inout(ymm_reg) x[3].0, x4 = inout(ymm_reg) x[4].0, x5 = inout(ymm_reg) x[5].0,
            x6 = inout(ymm_reg) x[6].0, x7 = inout(ymm_reg) x[7].0,
            blocks = in(ymm_reg) blocks.0, h = in(ymm_reg) h.0, d = in(ymm_reg) d.0,
            sum = inout(ymm_reg) sum, t = out(ymm_reg) _t,
            with_d = const HALF, with_h = const HALF | 1,
            out("ymm15") _, keys = in(reg) keys.as_ptr(), at = const ROUND * 16,
            options(readonly, nostack, preserves_flags)
        );
    }
    Ymm(sum)
}
