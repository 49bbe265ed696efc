//! The tier of VAES and VPCLMULQDQ, 512 bits wide, with the kernels that need 32 registers.

mod eights;
mod rounds;
mod segments;
mod stream;
mod wide;
mod zmm;

use core::arch::asm;
use core::arch::x86_64::__m512i;

use crate::crypto::aead::cpu::HasVaes512;
use crate::crypto::aead::lanes::entries::entries;
use crate::crypto::aead::lanes::four;
use crate::crypto::aead::lanes::kernel::Kernel;
use crate::crypto::aead::lanes::one;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::lanes::tags;
use crate::crypto::aead::lanes::vector::Vector;
use crate::crypto::aead::message::KEY_LEN;
use crate::crypto::aead::message::Message;
use crate::crypto::aead::message::TAG_LEN;
use crate::crypto::aead::message::TagMessage;
use crate::crypto::aead::message::Verdict;

entries!(
    HasVaes512,
    "vaes512",
    "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,aes,pclmulqdq,avx2,bmi1,bmi2",
    __m512i,
    1,
    alike,
    one,
    clear::<STACK_VECTORS>,
    clear::<DEEP_VECTORS>
);

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,aes,pclmulqdq,avx2,bmi1,bmi2")]
#[inline]
unsafe fn alike<const SEAL: bool>(table: &Table, messages: &mut [Message<'_>], verdicts: &mut [Verdict]) -> usize {
    let len = messages[0].text_inout.len() - TAG_LEN;
    let taken = match len.div_ceil(wide::PAIR) {
        0 | 1 if len <= __m512i::BYTES && messages.len() >= 8 => eights::<SEAL>(table, messages, verdicts),
        0 | 1 => 0,
        2 => units::<SEAL, 2, 4>(table, messages, verdicts),
        3 => units::<SEAL, 3, 2>(table, messages, verdicts),
        4 => units::<SEAL, 4, 2>(table, messages, verdicts),
        5 => units::<SEAL, 5, 1>(table, messages, verdicts),
        6 => units::<SEAL, 6, 1>(table, messages, verdicts),
        7 => units::<SEAL, 7, 1>(table, messages, verdicts),
        _ => units::<SEAL, 8, 1>(table, messages, verdicts),
    };
    if taken == 0 {
        return fours::<SEAL>(table, messages, verdicts);
    }
    if len > wide::PAIR {
        clear::<DEEP_VECTORS>();
    }
    taken
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,aes,pclmulqdq,avx2,bmi1,bmi2")]
#[inline(never)]
unsafe fn eights<const SEAL: bool>(table: &Table, messages: &mut [Message<'_>], verdicts: &mut [Verdict]) -> usize {
    if messages[0].text_inout.len() - TAG_LEN == __m512i::BYTES {
        eights::eights::<SEAL, true>(table, messages, verdicts)
    } else {
        eights::eights::<SEAL, false>(table, messages, verdicts)
    }
}

/// One function for each number of pairs: their frames are cleared after a call, and together they would be large.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,aes,pclmulqdq,avx2,bmi1,bmi2")]
#[inline(never)]
unsafe fn units<const SEAL: bool, const PAIRS: usize, const K: usize>(
    table: &Table,
    messages: &mut [Message<'_>],
    verdicts: &mut [Verdict],
) -> usize {
    stream::units::<SEAL, PAIRS, K>(table, messages, verdicts)
}

#[inline(always)]
unsafe fn one<const SEAL: bool>(table: &Table, message: &mut Message<'_>) -> bool {
    if message.text_inout.len() - TAG_LEN < segments::SEGMENT {
        long::<SEAL>(table, message)
    } else {
        segments::<SEAL>(table, message)
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,vaes,vpclmulqdq,aes,pclmulqdq,avx2,bmi1,bmi2")]
#[inline(never)]
unsafe fn segments<const SEAL: bool>(table: &Table, message: &mut Message<'_>) -> bool {
    segments::one::<SEAL>(table, message)
}

/// Stack that [`clear`] zeroes, in vectors: the frames of the kernels and of what calls them (`mixed` and `four` 1 KiB, `eights`
/// 1.3 KiB, `segments` up to 2.2 KiB, as the compiler likes: with 32 vectors two builds of one source differed, and so did one for
/// this CPU, 2026-11-29). The residue test finds what is too little.
const STACK_VECTORS: usize = 40;
/// The same for `units` and tags, whose frames have 2.2 KiB. More costs a call of one message too much time.
const DEEP_VECTORS: usize = 48;

#[target_feature(enable = "avx512f")]
#[inline(never)]
fn clear<const VECTORS: usize>() {
    // SAFETY: changes registers and the stack below this function's frame, where nobody's is; gives `rsp` back. An array begins
    // up to 63 bytes further down than the frames of kernels.
    unsafe {
        asm!(
            "vpxor xmm0, xmm0, xmm0", "vpxor xmm1, xmm1, xmm1", "vpxor xmm2, xmm2, xmm2", "vpxor xmm3, xmm3, xmm3",
            "vpxor xmm4, xmm4, xmm4", "vpxor xmm5, xmm5, xmm5", "vpxor xmm6, xmm6, xmm6", "vpxor xmm7, xmm7, xmm7",
            "vpxor xmm8, xmm8, xmm8", "vpxor xmm9, xmm9, xmm9", "vpxor xmm10, xmm10, xmm10",
            "vpxor xmm11, xmm11, xmm11", "vpxor xmm12, xmm12, xmm12", "vpxor xmm13, xmm13, xmm13",
            "vpxor xmm14, xmm14, xmm14", "vpxor xmm15, xmm15, xmm15",
            "vpxord zmm16, zmm16, zmm16", "vpxord zmm17, zmm17, zmm17", "vpxord zmm18, zmm18, zmm18",
            "vpxord zmm19, zmm19, zmm19", "vpxord zmm20, zmm20, zmm20", "vpxord zmm21, zmm21, zmm21",
            "vpxord zmm22, zmm22, zmm22", "vpxord zmm23, zmm23, zmm23", "vpxord zmm24, zmm24, zmm24",
            "vpxord zmm25, zmm25, zmm25", "vpxord zmm26, zmm26, zmm26", "vpxord zmm27, zmm27, zmm27",
            "vpxord zmm28, zmm28, zmm28", "vpxord zmm29, zmm29, zmm29", "vpxord zmm30, zmm30, zmm30",
            "vpxord zmm31, zmm31, zmm31",
            "mov {top}, rsp", "mov {at}, rsp", "and {at}, -64", "lea rsp, [{at} - {vectors} * 64]",
            "vmovdqu64 [{top} - 64], zmm0",
            ".set o, -64", ".rept {vectors}", "vmovdqa64 [{at} + o], zmm0", ".set o, o - 64", ".endr",
            "mov rsp, {top}",
            top = out(reg) _, at = out(reg) _, vectors = const VECTORS,
            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _,
            out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
            out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _,
            out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
            out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _, out("zmm28") _, out("zmm29") _,
            out("zmm30") _, out("zmm31") _,
        );
    }
}
