//! Assembly for ZMM registers: AES rounds on several vectors, alone and with a product between them.
//!
//! LLVM runs such chains one after another to save registers, and moves products out from between them; both cost a
//! quarter of the speed and more (findings/crypto.md section 3). What stands in one block stays as it is written.

use core::arch::asm;
use core::arch::x86_64::*;

use crate::crypto::aead::lanes::avx512::wide::Power;
use crate::crypto::aead::lanes::avx512::zmm::Zmm;
use crate::crypto::aead::lanes::hash::Products;
use crate::crypto::aead::lanes::hash::Sum;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::lanes::vector::RoundKeys;

/// AES-256 of several vectors.
macro_rules! aes_function {
    ($name:ident, $count:literal, $($x:ident $i:literal)*) => {
        #[target_feature(enable = "avx512f,vaes")]
        #[inline]
        pub(super) unsafe fn $name(keys: &RoundKeys, x: &mut [Zmm; $count]) {
            // SAFETY: reads the round keys, changes the named registers.
            unsafe {
                asm!(
                    "vbroadcasti32x4 zmm31, [{keys}]",
                    $(concat!("vpxorq {", stringify!($x), "}, {", stringify!($x), "}, zmm31"),)*
                    ".set o, 16", ".rept 13",
                    "vbroadcasti32x4 zmm31, [{keys} + o]",
                    $(concat!("vaesenc {", stringify!($x), "}, {", stringify!($x), "}, zmm31"),)*
                    ".set o, o + 16", ".endr",
                    "vbroadcasti32x4 zmm31, [{keys} + 224]",
                    $(concat!("vaesenclast {", stringify!($x), "}, {", stringify!($x), "}, zmm31"),)*
                    $($x = inout(zmm_reg) x[$i].0,)*
                    out("zmm31") _, keys = in(reg) keys.as_ptr(),
                    options(pure, readonly, nostack, preserves_flags)
                );
            }
        }
    };
}
aes_function!(aes4, 4, a 0 b 1 c 2 d 3);
aes_function!(aes5, 5, a 0 b 1 c 2 d 3 e 4);
aes_function!(aes8, 8, a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7);
aes_function!(aes9, 9, a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7 i 8);

/// One operation on several vectors with one round key.
macro_rules! round_function {
    ($name:ident, $count:literal, $operation:literal, $($x:ident $i:literal)*) => {
        #[target_feature(enable = "avx512f,vaes")]
        #[inline]
        pub(super) unsafe fn $name<const ROUND: usize>(keys: &RoundKeys, x: &mut [Zmm; $count]) {
            // SAFETY: reads the round key, changes the named registers.
            unsafe {
                asm!(
                    "vbroadcasti32x4 zmm31, [{keys} + {at}]",
                    $(concat!($operation, " {", stringify!($x), "}, {", stringify!($x), "}, zmm31"),)*
                    $($x = inout(zmm_reg) x[$i].0,)*
                    out("zmm31") _, keys = in(reg) keys.as_ptr(), at = const ROUND * 16,
                    options(readonly, nostack, preserves_flags)
                );
            }
        }
    };
}
round_function!(whiten8, 8, "vpxorq", a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7);
round_function!(last8, 8, "vaesenclast", a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7);
// The last middle rounds of `share_function`: of all sixteen vectors, and of the first twelve.
round_function!(middle16, 16, "vaesenc", x0 0 x1 1 x2 2 x3 3 x4 4 x5 5 x6 6 x7 7 x8 8 x9 9 x10 10 x11 11 x12 12 x13 13 x14 14 x15 15);
round_function!(middle12, 16, "vaesenc", x0 0 x1 1 x2 2 x3 3 x4 4 x5 5 x6 6 x7 7 x8 8 x9 9 x10 10 x11 11);
round_function!(round10, 10, "vaesenc", a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7 i 8 j 9);
round_function!(last10, 10, "vaesenclast", a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7 i 8 j 9);

/// One middle round of several vectors, with a product that is added to a sum between them.
macro_rules! round_add_function {
    ($name:ident, $count:literal, $($a:ident $ai:literal)*; $($b:ident $bi:literal)*; $($c:ident $ci:literal)*) => {
        #[target_feature(enable = "avx512f,vaes,vpclmulqdq")]
        #[inline]
        pub(super) unsafe fn $name<const ROUND: usize>(
            keys: &RoundKeys,
            x: &mut [Zmm; $count],
            sum: Sum<Zmm>,
            blocks: Zmm,
            h: Zmm,
            d: Zmm,
        ) -> Sum<Zmm> {
            let (mut r, mut f) = (sum.r.0, sum.f.0);
            let _t: __m512i;
            let _u: __m512i;
            // SAFETY: reads the round key, changes the named registers.
            unsafe {
                asm!(
                    "vbroadcasti32x4 zmm31, [{keys} + {at}]",
                    "vpclmulqdq {t}, {blocks}, {d}, 0x10",
                    $(concat!("vaesenc {", stringify!($a), "}, {", stringify!($a), "}, zmm31"),)*
                    "vpclmulqdq {u}, {blocks}, {h}, 0x11",
                    $(concat!("vaesenc {", stringify!($b), "}, {", stringify!($b), "}, zmm31"),)*
                    "vpternlogq {r}, {t}, {u}, 0x96",
                    "vpclmulqdq {t}, {blocks}, {d}, 0x00",
                    $(concat!("vaesenc {", stringify!($c), "}, {", stringify!($c), "}, zmm31"),)*
                    "vpclmulqdq {u}, {blocks}, {h}, 0x01",
                    "vpternlogq {f}, {t}, {u}, 0x96",
                    $($a = inout(zmm_reg) x[$ai].0,)*
                    $($b = inout(zmm_reg) x[$bi].0,)*
                    $($c = inout(zmm_reg) x[$ci].0,)*
                    blocks = in(zmm_reg) blocks.0, h = in(zmm_reg) h.0, d = in(zmm_reg) d.0,
                    r = inout(zmm_reg) r, f = inout(zmm_reg) f, t = out(zmm_reg) _t, u = out(zmm_reg) _u,
                    out("zmm31") _, keys = in(reg) keys.as_ptr(), at = const ROUND * 16,
                    options(readonly, nostack, preserves_flags)
                );
            }
            Sum { r: Zmm(r), f: Zmm(f) }
        }
    };
}
round_add_function!(round8_add, 8, x0 0 x1 1 x2 2; x3 3 x4 4 x5 5; x6 6 x7 7);

/// 16 bytes in every place; assembly, because padding may be among them, which has no value in Rust.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) unsafe fn splat_loosely(at: *const u8) -> Zmm {
    let value: __m512i;
    // SAFETY: reads 16 bytes.
    unsafe {
        asm!("vbroadcasti32x4 {0}, [{1}]", out(zmm_reg) value, in(reg) at,
            options(pure, readonly, nostack, preserves_flags));
    }
    Zmm(value)
}

/// A middle round of ten vectors, with a product that is added to a sum between them.
#[target_feature(enable = "avx512f,vaes,vpclmulqdq")]
#[inline]
pub(super) unsafe fn round10_add<const ROUND: usize, const POWER: usize>(
    keys: &RoundKeys,
    x: &mut [Zmm; 10],
    sum: Sum<Zmm>,
    blocks: Zmm,
    powers: &[Power<Zmm>; 4],
) -> Sum<Zmm> {
    let (mut r, mut f) = (sum.r.0, sum.f.0);
    let (_t, _u): (__m512i, __m512i);
    // SAFETY: reads the round key and the power, changes the named registers.
    unsafe {
        asm!(
            "vbroadcasti32x4 zmm31, [{keys} + {at}]",
            "vpclmulqdq {t}, {blocks}, [{powers} + {p} + 64], 0x10",
            "vaesenc {x0}, {x0}, zmm31", "vaesenc {x1}, {x1}, zmm31", "vaesenc {x2}, {x2}, zmm31",
            "vpclmulqdq {u}, {blocks}, [{powers} + {p}], 0x11",
            "vaesenc {x3}, {x3}, zmm31", "vaesenc {x4}, {x4}, zmm31",
            "vpternlogq {r}, {t}, {u}, 0x96",
            "vpclmulqdq {t}, {blocks}, [{powers} + {p} + 64], 0x00",
            "vaesenc {x5}, {x5}, zmm31", "vaesenc {x6}, {x6}, zmm31", "vaesenc {x7}, {x7}, zmm31",
            "vpclmulqdq {u}, {blocks}, [{powers} + {p}], 0x01",
            "vaesenc {x8}, {x8}, zmm31", "vaesenc {x9}, {x9}, zmm31",
            "vpternlogq {f}, {t}, {u}, 0x96",
            x0 = inout(zmm_reg) x[0].0, x1 = inout(zmm_reg) x[1].0, x2 = inout(zmm_reg) x[2].0,
            x3 = inout(zmm_reg) x[3].0, x4 = inout(zmm_reg) x[4].0, x5 = inout(zmm_reg) x[5].0,
            x6 = inout(zmm_reg) x[6].0, x7 = inout(zmm_reg) x[7].0, x8 = inout(zmm_reg) x[8].0,
            x9 = inout(zmm_reg) x[9].0,
            blocks = in(zmm_reg) blocks.0, powers = in(reg) powers.as_ptr(), p = const POWER * 128,
            r = inout(zmm_reg) r, f = inout(zmm_reg) f, t = out(zmm_reg) _t, u = out(zmm_reg) _u,
            out("zmm31") _, keys = in(reg) keys.as_ptr(), at = const ROUND * 16,
            options(readonly, nostack, preserves_flags)
        );
    }
    Sum { r: Zmm(r), f: Zmm(f) }
}

/// A middle round of eight vectors, with half of a product that is added to half of a sum between them.
#[target_feature(enable = "avx512f,vaes,vpclmulqdq")]
#[inline]
pub(super) unsafe fn round8_half<const ROUND: usize, const HALF: i32>(
    keys: &RoundKeys,
    x: &mut [Zmm; 8],
    sum: Zmm,
    blocks: Zmm,
    h: Zmm,
    d: Zmm,
) -> Zmm {
    let mut sum = sum.0;
    let _t: __m512i;
    let _u: __m512i;
    // SAFETY: reads the round key, changes the named registers.
    unsafe {
        asm!(
            "vbroadcasti32x4 zmm31, [{keys} + {at}]",
            "vpclmulqdq {t}, {blocks}, {d}, {with_d}",
            "vaesenc {x0}, {x0}, zmm31", "vaesenc {x1}, {x1}, zmm31", "vaesenc {x2}, {x2}, zmm31",
            "vaesenc {x3}, {x3}, zmm31",
            "vpclmulqdq {u}, {blocks}, {h}, {with_h}",
            "vaesenc {x4}, {x4}, zmm31", "vaesenc {x5}, {x5}, zmm31", "vaesenc {x6}, {x6}, zmm31",
            "vaesenc {x7}, {x7}, zmm31",
            "vpternlogq {sum}, {t}, {u}, 0x96",
            x0 = inout(zmm_reg) x[0].0, x1 = inout(zmm_reg) x[1].0, x2 = inout(zmm_reg) x[2].0,
            x3 = inout(zmm_reg) x[3].0, x4 = inout(zmm_reg) x[4].0, x5 = inout(zmm_reg) x[5].0,
            x6 = inout(zmm_reg) x[6].0, x7 = inout(zmm_reg) x[7].0,
            blocks = in(zmm_reg) blocks.0, h = in(zmm_reg) h.0, d = in(zmm_reg) d.0,
            sum = inout(zmm_reg) sum, t = out(zmm_reg) _t, u = out(zmm_reg) _u,
            with_d = const HALF, with_h = const HALF | 1,
            out("zmm31") _, keys = in(reg) keys.as_ptr(), at = const ROUND * 16,
            options(readonly, nostack, preserves_flags)
        );
    }
    Zmm(sum)
}

/// A share of the middle rounds, with the keys `ROUND` and the next: alone, and with Karatsuba's products of two vectors
/// beside it, `a` and `b` times the powers from an address on. Two vectors of AES and one instruction of the products take
/// turns.
macro_rules! share_function {
    ($alone:ident, $beside:ident, $($x:ident $i:literal)*; $($key:literal $a:ident $b:ident,)*) => {
        share_function! {
            $alone, $beside, $($x $i)*; $($key $a $b,)*;
            "vpclmulqdq {t}, {a}, [{powers}], 0x00",
            "vpclmulqdq {u}, {b}, [{powers} + 64], 0x00",
            "vpternlogq {low}, {t}, {u}, 0x96",
            "vpclmulqdq {t}, {a}, [{powers}], 0x11",
            "vpclmulqdq {u}, {b}, [{powers} + 64], 0x11",
            "vpternlogq {high}, {t}, {u}, 0x96",
            "vpunpckhqdq {t}, {a}, {b}",
            "vpunpcklqdq {a}, {a}, {b}",
            "vpxorq {a}, {a}, {t}",
            "vpclmulqdq {t}, {a}, [{powers} + {to_middles}], 0x00",
            "vpclmulqdq {u}, {a}, [{powers} + {to_middles}], 0x11",
            "vpternlogq {middle}, {t}, {u}, 0x96",
        }
    };
    (
        $alone:ident, $beside:ident, $($x:ident $i:literal)*;
        $($key:literal $a:ident $b:ident,)*; $($product:literal,)*
    ) => {
        #[target_feature(enable = "avx512f,vaes")]
        #[inline]
        pub(super) unsafe fn $alone<const ROUND: usize>(keys: &RoundKeys, x: &mut [Zmm; 16]) {
            // SAFETY: reads the round keys, changes the named registers.
            unsafe {
                asm!(
                    "vbroadcasti32x4 zmm30, [{keys} + {at}]", "vbroadcasti32x4 zmm31, [{keys} + {at} + 16]",
                    $(
                        concat!("vaesenc {", stringify!($a), "}, {", stringify!($a), "}, zmm3", $key),
                        concat!("vaesenc {", stringify!($b), "}, {", stringify!($b), "}, zmm3", $key),
                    )*
                    $($x = inout(zmm_reg) x[$i].0,)*
                    out("zmm30") _, out("zmm31") _, keys = in(reg) keys.as_ptr(), at = const ROUND * 16,
                    options(readonly, nostack, preserves_flags)
                );
            }
        }

        #[target_feature(enable = "avx512f,vaes,vpclmulqdq")]
        #[inline]
        pub(super) unsafe fn $beside<const ROUND: usize>(
            keys: &RoundKeys,
            x: &mut [Zmm; 16],
            products: Products<Zmm>,
            a: Zmm,
            b: Zmm,
            powers: *const u8,
        ) -> Products<Zmm> {
            let Products { low: Zmm(mut low), middle: Zmm(mut middle), high: Zmm(mut high) } = products;
            let (_a, _t, _u): (__m512i, __m512i, __m512i);
            // SAFETY: reads round keys and powers, changes the named registers.
            unsafe {
                asm!(
                    "vbroadcasti32x4 zmm30, [{keys} + {at}]", "vbroadcasti32x4 zmm31, [{keys} + {at} + 16]",
                    $(
                        concat!("vaesenc {", stringify!($a), "}, {", stringify!($a), "}, zmm3", $key),
                        concat!("vaesenc {", stringify!($b), "}, {", stringify!($b), "}, zmm3", $key),
                        $product,
                    )*
                    $($x = inout(zmm_reg) x[$i].0,)*
                    a = inout(zmm_reg) a.0 => _a, b = in(zmm_reg) b.0, powers = in(reg) powers,
                    to_middles = const Table::TO_MIDDLES,
                    low = inout(zmm_reg) low, middle = inout(zmm_reg) middle, high = inout(zmm_reg) high,
                    t = out(zmm_reg) _t, u = out(zmm_reg) _u,
                    out("zmm30") _, out("zmm31") _, keys = in(reg) keys.as_ptr(), at = const ROUND * 16,
                    options(readonly, nostack, preserves_flags)
                );
            }
            Products { low: Zmm(low), middle: Zmm(middle), high: Zmm(high) }
        }
    };
}
share_function!(
    share16_even, share16_even_beside,
    x0 0 x1 1 x2 2 x3 3 x4 4 x5 5 x6 6 x7 7 x8 8 x9 9 x10 10 x11 11 x12 12 x13 13 x14 14 x15 15;
    0 x0 x1, 0 x2 x3, 0 x4 x5, 0 x6 x7, 0 x8 x9, 0 x10 x11,
    0 x12 x13, 0 x14 x15, 1 x0 x1, 1 x2 x3, 1 x4 x5, 1 x6 x7,
);
share_function!(
    share16_odd, share16_odd_beside,
    x0 0 x1 1 x2 2 x3 3 x4 4 x5 5 x6 6 x7 7 x8 8 x9 9 x10 10 x11 11 x12 12 x13 13 x14 14 x15 15;
    0 x8 x9, 0 x10 x11, 0 x12 x13, 0 x14 x15, 1 x0 x1, 1 x2 x3,
    1 x4 x5, 1 x6 x7, 1 x8 x9, 1 x10 x11, 1 x12 x13, 1 x14 x15,
);
share_function!(
    share12, share12_beside,
    x0 0 x1 1 x2 2 x3 3 x4 4 x5 5 x6 6 x7 7 x8 8 x9 9 x10 10 x11 11;
    0 x0 x1, 0 x2 x3, 0 x4 x5, 0 x6 x7, 0 x8 x9, 0 x10 x11,
    1 x0 x1, 1 x2 x3, 1 x4 x5, 1 x6 x7, 1 x8 x9, 1 x10 x11,
);
