//! AES rounds on more vectors than `zmm` has in flight, alone and with products between them. Assembly, for the reason given
//! there.

use core::arch::asm;
use core::arch::x86_64::*;

use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::lanes::vector::ProductSum;
use crate::crypto::aead::lanes::vector::RoundKeys;

/// A sum of Karatsuba's three products that has not been reduced: of low halves, of sums of halves, of high halves.
#[derive(Clone, Copy)]
pub(super) struct KaratsubaSum {
    pub(super) low: __m512i,
    pub(super) middle: __m512i,
    pub(super) high: __m512i,
}

/// One operation on several vectors with one round key.
macro_rules! round_function {
    ($name:ident, $count:literal, $operation:literal, $($x:ident $i:literal)*) => {
        #[target_feature(enable = "avx512f,vaes")]
        #[inline]
        pub(super) unsafe fn $name<const ROUND: usize>(keys: &RoundKeys, x: &mut [__m512i; $count]) {
            // Reads the round key, changes the named registers.
                asm!(
                    "vbroadcasti32x4 zmm31, [{keys} + {at}]",
                    $(concat!($operation, " {", stringify!($x), "}, {", stringify!($x), "}, zmm31"),)*
                    $($x = inout(zmm_reg) x[$i],)*
                    out("zmm31") _, keys = in(reg) keys.as_ptr(), at = const ROUND * 16,
                    options(readonly, nostack, preserves_flags)
                );
        }
    };
}
// The last middle rounds of `share_function`: of all sixteen vectors, and of the first twelve.
round_function!(middle16, 16, "vaesenc", x0 0 x1 1 x2 2 x3 3 x4 4 x5 5 x6 6 x7 7 x8 8 x9 9 x10 10 x11 11 x12 12 x13 13 x14 14 x15 15);
round_function!(middle12, 16, "vaesenc", x0 0 x1 1 x2 2 x3 3 x4 4 x5 5 x6 6 x7 7 x8 8 x9 9 x10 10 x11 11);
round_function!(round10, 10, "vaesenc", a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7 i 8 j 9);
round_function!(last10, 10, "vaesenclast", a 0 b 1 c 2 d 3 e 4 f 5 g 6 h 7 i 8 j 9);

/// 16 bytes in every place; assembly, because padding may be among them, which has no value in Rust.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) unsafe fn splat_loosely(at: *const u8) -> __m512i {
    let value: __m512i;
    // Reads 16 bytes.
    asm!("vbroadcasti32x4 {0}, [{1}]", out(zmm_reg) value, in(reg) at,
            options(pure, readonly, nostack, preserves_flags));
    value
}

/// Middle round `ROUND` of ten vectors, and beside it `sum` plus `blocks` times power `POWER`. Powers have their companions
/// behind them.
#[target_feature(enable = "avx512f,vaes,vpclmulqdq")]
#[inline]
pub(super) unsafe fn round10_add<const ROUND: usize, const POWER: usize>(
    keys: &RoundKeys,
    x: &mut [__m512i; 10],
    sum: ProductSum<__m512i>,
    blocks: __m512i,
    powers: &[[__m512i; 2]; 4],
) -> ProductSum<__m512i> {
    let (mut r, mut f) = (sum.r, sum.f);
    let (_t, _u): (__m512i, __m512i);
    // Reads the round key and the power, changes the named registers.
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
        x0 = inout(zmm_reg) x[0], x1 = inout(zmm_reg) x[1], x2 = inout(zmm_reg) x[2],
        x3 = inout(zmm_reg) x[3], x4 = inout(zmm_reg) x[4], x5 = inout(zmm_reg) x[5],
        x6 = inout(zmm_reg) x[6], x7 = inout(zmm_reg) x[7], x8 = inout(zmm_reg) x[8],
        x9 = inout(zmm_reg) x[9],
        blocks = in(zmm_reg) blocks, powers = in(reg) powers.as_ptr(), p = const POWER * 128,
        r = inout(zmm_reg) r, f = inout(zmm_reg) f, t = out(zmm_reg) _t, u = out(zmm_reg) _u,
        out("zmm31") _, keys = in(reg) keys.as_ptr(), at = const ROUND * 16,
        options(readonly, nostack, preserves_flags)
    );
    ProductSum { r, f }
}

/// A share of the middle rounds, with the keys of round `round` and the next: alone, and with Karatsuba's products of two
/// vectors beside it, `a` and `b` times the powers from an address on. Two vectors of AES and one instruction of the products take
/// turns.
macro_rules! share_function {
    ($alone:ident, $beside:ident, $round:expr, $($x:ident $i:literal)*; $($key:literal $a:ident $b:ident,)*) => {
        share_function! {
            $alone, $beside, $round, $($x $i)*; $($key $a $b,)*;
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
        $alone:ident, $beside:ident, $round:expr, $($x:ident $i:literal)*;
        $($key:literal $a:ident $b:ident,)*; $($product:literal,)*
    ) => {
        #[target_feature(enable = "avx512f,vaes")]
        #[inline]
        pub(super) unsafe fn $alone<const SHARE: usize>(keys: &RoundKeys, x: &mut [__m512i; 16]) {
            // Reads the round keys, changes the named registers.
                asm!(
                    "vbroadcasti32x4 zmm30, [{keys} + {at}]", "vbroadcasti32x4 zmm31, [{keys} + {at} + 16]",
                    $(
                        concat!("vaesenc {", stringify!($a), "}, {", stringify!($a), "}, zmm3", $key),
                        concat!("vaesenc {", stringify!($b), "}, {", stringify!($b), "}, zmm3", $key),
                    )*
                    $($x = inout(zmm_reg) x[$i],)*
                    out("zmm30") _, out("zmm31") _, keys = in(reg) keys.as_ptr(), at = const ($round) * 16,
                    options(readonly, nostack, preserves_flags)
                );
        }

        #[target_feature(enable = "avx512f,vaes,vpclmulqdq")]
        #[inline]
        pub(super) unsafe fn $beside<const SHARE: usize>(
            keys: &RoundKeys,
            x: &mut [__m512i; 16],
            sum: KaratsubaSum,
            a: __m512i,
            b: __m512i,
            powers: *const u8,
        ) -> KaratsubaSum {
            let KaratsubaSum { mut low, mut middle, mut high } = sum;
            let (_a, _t, _u): (__m512i, __m512i, __m512i);
            // Reads round keys and powers, changes the named registers.
                asm!(
                    "vbroadcasti32x4 zmm30, [{keys} + {at}]", "vbroadcasti32x4 zmm31, [{keys} + {at} + 16]",
                    $(
                        concat!("vaesenc {", stringify!($a), "}, {", stringify!($a), "}, zmm3", $key),
                        concat!("vaesenc {", stringify!($b), "}, {", stringify!($b), "}, zmm3", $key),
                        $product,
                    )*
                    $($x = inout(zmm_reg) x[$i],)*
                    a = inout(zmm_reg) a => _a, b = in(zmm_reg) b, powers = in(reg) powers,
                    to_middles = const Table::TO_MIDDLES,
                    low = inout(zmm_reg) low, middle = inout(zmm_reg) middle, high = inout(zmm_reg) high,
                    t = out(zmm_reg) _t, u = out(zmm_reg) _u,
                    out("zmm30") _, out("zmm31") _, keys = in(reg) keys.as_ptr(), at = const ($round) * 16,
                    options(readonly, nostack, preserves_flags)
                );
            KaratsubaSum { low, middle, high }
        }
    };
}
share_function!(
    share16_even, share16_even_beside, 1 + SHARE / 2 * 3,
    x0 0 x1 1 x2 2 x3 3 x4 4 x5 5 x6 6 x7 7 x8 8 x9 9 x10 10 x11 11 x12 12 x13 13 x14 14 x15 15;
    0 x0 x1, 0 x2 x3, 0 x4 x5, 0 x6 x7, 0 x8 x9, 0 x10 x11,
    0 x12 x13, 0 x14 x15, 1 x0 x1, 1 x2 x3, 1 x4 x5, 1 x6 x7,
);
share_function!(
    share16_odd, share16_odd_beside, 2 + SHARE / 2 * 3,
    x0 0 x1 1 x2 2 x3 3 x4 4 x5 5 x6 6 x7 7 x8 8 x9 9 x10 10 x11 11 x12 12 x13 13 x14 14 x15 15;
    0 x8 x9, 0 x10 x11, 0 x12 x13, 0 x14 x15, 1 x0 x1, 1 x2 x3,
    1 x4 x5, 1 x6 x7, 1 x8 x9, 1 x10 x11, 1 x12 x13, 1 x14 x15,
);
share_function!(
    share12, share12_beside, 1 + SHARE * 2,
    x0 0 x1 1 x2 2 x3 3 x4 4 x5 5 x6 6 x7 7 x8 8 x9 9 x10 10 x11 11;
    0 x0 x1, 0 x2 x3, 0 x4 x5, 0 x6 x7, 0 x8 x9, 0 x10 x11,
    1 x0 x1, 1 x2 x3, 1 x4 x5, 1 x6 x7, 1 x8 x9, 1 x10 x11,
);
