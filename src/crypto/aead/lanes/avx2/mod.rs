//! The tier of VAES and VPCLMULQDQ, 256 bits wide, in VEX encoding: no AVX-512 needed.

mod ymm;

use core::arch::asm;
use core::arch::x86_64::__m256i;

use crate::crypto::aead::cpu::HasVaes256;
use crate::crypto::aead::lanes::entries::entries;
use crate::crypto::aead::lanes::four;
use crate::crypto::aead::lanes::kernel::Kernel;
use crate::crypto::aead::lanes::one;
use crate::crypto::aead::lanes::table::Table;
use crate::crypto::aead::lanes::tags;
use crate::crypto::aead::message::KEY_LEN;
use crate::crypto::aead::message::Message;
use crate::crypto::aead::message::TagMessage;
use crate::crypto::aead::message::Verdict;

entries!(HasVaes256, "vaes256", "avx2,vaes,vpclmulqdq,aes,pclmulqdq,sse4.1", __m256i, 2, fours, long, clear, clear);

/// Stack that [`clear`] zeroes, a multiple of 128: the frames of the kernels and of what calls them.
const STACK_BYTES: usize = 3072;

#[target_feature(enable = "avx")]
#[inline(never)]
fn clear() {
    // SAFETY: changes registers and the stack below this function's frame, where nobody's is; gives `rsp` back. Aligned
    // stores, because those that cross cache lines cost a call up to 27 ns (AMD family 25, 28 Nov 2026).
    unsafe {
        asm!(
            "vpxor xmm0, xmm0, xmm0", "vpxor xmm1, xmm1, xmm1", "vpxor xmm2, xmm2, xmm2", "vpxor xmm3, xmm3, xmm3",
            "vpxor xmm4, xmm4, xmm4", "vpxor xmm5, xmm5, xmm5", "vpxor xmm6, xmm6, xmm6", "vpxor xmm7, xmm7, xmm7",
            "vpxor xmm8, xmm8, xmm8", "vpxor xmm9, xmm9, xmm9", "vpxor xmm10, xmm10, xmm10",
            "vpxor xmm11, xmm11, xmm11", "vpxor xmm12, xmm12, xmm12", "vpxor xmm13, xmm13, xmm13",
            "vpxor xmm14, xmm14, xmm14", "vpxor xmm15, xmm15, xmm15",
            "mov {top}, rsp", "mov {at}, rsp", "sub rsp, {left}", "sub rsp, 32",
            "vmovdqu [{at} - 32], ymm0", "and {at}, -32",
            "2:",
            "vmovdqa [{at} - 32], ymm0", "vmovdqa [{at} - 64], ymm0", "vmovdqa [{at} - 96], ymm0",
            "vmovdqa [{at} - 128], ymm0", "sub {at}, 128", "sub {left}, 128", "jnz 2b", "mov rsp, {top}",
            top = out(reg) _, at = out(reg) _, left = inout(reg) STACK_BYTES => _,
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _, out("ymm6") _,
            out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _, out("ymm12") _,
            out("ymm13") _, out("ymm14") _, out("ymm15") _,
        );
    }
}
