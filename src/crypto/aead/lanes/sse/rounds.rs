//! Assembly for XMM registers in the legacy encoding: AES rounds on several vectors, alone and with a product between them.
//!
//! LLVM runs such chains one after another to save registers, and moves products out from between them; both cost a
//! quarter of the speed and more (findings/crypto.md section 3). What stands in one block stays as it is written.

use core::arch::asm;
use core::arch::x86_64::*;

use crate::crypto::aead::lanes::hash::Sum;
use crate::crypto::aead::lanes::sse::xmm::Xmm;
use crate::crypto::aead::lanes::vector::RoundKeys;

/// AES-256 of several vectors.
macro_rules! aes_function {
    ($name:ident, $count:literal, $($x:ident $i:literal)*) => {
        #[target_feature(enable = "aes,sse2")]
        #[inline]
        pub(super) unsafe fn $name(keys: &RoundKeys, x: &mut [Xmm; $count]) {
            // SAFETY: reads the round keys, changes the named registers.
            unsafe {
                asm!(
                    "movdqu xmm15, [{keys}]",
                    $(concat!("pxor {", stringify!($x), "}, xmm15"),)*
                    ".set o, 16", ".rept 13",
                    "movdqu xmm15, [{keys} + o]",
                    $(concat!("aesenc {", stringify!($x), "}, xmm15"),)*
                    ".set o, o + 16", ".endr",
                    "movdqu xmm15, [{keys} + 224]",
                    $(concat!("aesenclast {", stringify!($x), "}, xmm15"),)*
                    $($x = inout(xmm_reg) x[$i].0,)*
                    out("xmm15") _, keys = in(reg) keys.as_ptr(),
                    options(pure, readonly, nostack, preserves_flags)
                );
            }
        }
    };
}
aes_function!(aes4, 4, a 0 b 1 c 2 d 3);
aes_function!(aes8, 8, a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7);
aes_function!(aes12, 12, a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7 i 8 j 9 k 10 l 11);

/// One operation on eight blocks with one round key.
macro_rules! round_function {
    ($name:ident, $operation:literal, $($x:ident $i:literal)*) => {
        #[target_feature(enable = "aes,sse2")]
        #[inline]
        pub(super) unsafe fn $name<const ROUND: usize>(keys: &RoundKeys, x: &mut [Xmm; 8]) {
            // SAFETY: reads the round key, changes the named registers.
            unsafe {
                asm!(
                    "movdqu xmm15, [{keys} + {at}]",
                    $(concat!($operation, " {", stringify!($x), "}, xmm15"),)*
                    $($x = inout(xmm_reg) x[$i].0,)*
                    out("xmm15") _, keys = in(reg) keys.as_ptr(), at = const ROUND * 16,
                    options(readonly, nostack, preserves_flags)
                );
            }
        }
    };
}
round_function!(whiten8, "pxor", a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7);
round_function!(last8, "aesenclast", a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7);

/// One middle round of eight blocks, with a product that is added to a sum between them.
#[target_feature(enable = "aes,pclmulqdq,sse2")]
#[inline]
pub(super) unsafe fn round8_add<const ROUND: usize>(
    keys: &RoundKeys,
    x: &mut [Xmm; 8],
    sum: Sum<Xmm>,
    blocks: Xmm,
    h: Xmm,
    d: Xmm,
) -> Sum<Xmm> {
    let (mut r, mut f) = (sum.r.0, sum.f.0);
    let _t: __m128i;
    // SAFETY: reads the round key, changes the named registers.
    unsafe {
        asm!(
            "movdqu xmm15, [{keys} + {at}]",
            "movdqa {t}, {blocks}", "pclmulqdq {t}, {d}, 0x10",
            "aesenc {x0}, xmm15", "aesenc {x1}, xmm15",
            "pxor {r}, {t}",
            "movdqa {t}, {blocks}", "pclmulqdq {t}, {h}, 0x11",
            "aesenc {x2}, xmm15", "aesenc {x3}, xmm15",
            "pxor {r}, {t}",
            "movdqa {t}, {blocks}", "pclmulqdq {t}, {d}, 0x00",
            "aesenc {x4}, xmm15", "aesenc {x5}, xmm15",
            "pxor {f}, {t}",
            "pclmulqdq {blocks}, {h}, 0x01",
            "aesenc {x6}, xmm15", "aesenc {x7}, xmm15",
            "pxor {f}, {blocks}",
            x0 = inout(xmm_reg) x[0].0, x1 = inout(xmm_reg) x[1].0, x2 = inout(xmm_reg) x[2].0,
            x3 = inout(xmm_reg) x[3].0, x4 = inout(xmm_reg) x[4].0, x5 = inout(xmm_reg) x[5].0,
            x6 = inout(xmm_reg) x[6].0, x7 = inout(xmm_reg) x[7].0,
            blocks = inout(xmm_reg) blocks.0 => _, h = in(xmm_reg) h.0, d = in(xmm_reg) d.0,
            r = inout(xmm_reg) r, f = inout(xmm_reg) f, t = out(xmm_reg) _t,
            out("xmm15") _, keys = in(reg) keys.as_ptr(), at = const ROUND * 16,
            options(readonly, nostack, preserves_flags)
        );
    }
    Sum { r: Xmm(r), f: Xmm(f) }
}

/// A middle round of eight blocks, with half of a product that is added to half of a sum between them.
#[target_feature(enable = "aes,pclmulqdq,sse2")]
#[inline]
pub(super) unsafe fn round8_half<const ROUND: usize, const HALF: i32>(
    keys: &RoundKeys,
    x: &mut [Xmm; 8],
    sum: Xmm,
    blocks: Xmm,
    h: Xmm,
    d: Xmm,
) -> Xmm {
    let mut sum = sum.0;
    let _t: __m128i;
    // SAFETY: reads the round key, changes the named registers.
    unsafe {
        asm!(
            "movdqu xmm15, [{keys} + {at}]",
            "movdqa {t}, {blocks}", "pclmulqdq {t}, {d}, {with_d}",
            "aesenc {x0}, xmm15", "aesenc {x1}, xmm15", "aesenc {x2}, xmm15", "aesenc {x3}, xmm15",
            "pxor {sum}, {t}",
            "movdqa {t}, {blocks}", "pclmulqdq {t}, {h}, {with_h}",
            "aesenc {x4}, xmm15", "aesenc {x5}, xmm15", "aesenc {x6}, xmm15", "aesenc {x7}, xmm15",
            "pxor {sum}, {t}",
            x0 = inout(xmm_reg) x[0].0, x1 = inout(xmm_reg) x[1].0, x2 = inout(xmm_reg) x[2].0,
            x3 = inout(xmm_reg) x[3].0, x4 = inout(xmm_reg) x[4].0, x5 = inout(xmm_reg) x[5].0,
            x6 = inout(xmm_reg) x[6].0, x7 = inout(xmm_reg) x[7].0,
            blocks = in(xmm_reg) blocks.0, h = in(xmm_reg) h.0, d = in(xmm_reg) d.0,
            sum = inout(xmm_reg) sum, t = out(xmm_reg) _t,
            with_d = const HALF, with_h = const HALF | 1,
            out("xmm15") _, keys = in(reg) keys.as_ptr(), at = const ROUND * 16,
            options(readonly, nostack, preserves_flags)
        );
    }
    Xmm(sum)
}
