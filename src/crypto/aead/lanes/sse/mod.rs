//! The tier of AES-NI and PCLMULQDQ, 128 bits wide, in legacy encoding: no AVX needed.

pub(super) mod xmm;

use core::arch::asm;
use core::arch::x86_64::__m128i;

use crate::crypto::aead::cpu::HasAesNi;
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

entries!(HasAesNi, "aesni", "aes,pclmulqdq,ssse3,sse4.1", __m128i, 4, fours, long, clear, clear);

/// Stack that [`clear`] zeroes, a multiple of 64: the frames of the kernels and of what calls them.
const STACK_BYTES: usize = 2560;

#[target_feature(enable = "sse2")]
#[inline(never)]
fn clear() {
    // SAFETY: changes registers and the stack below this function's frame, where nobody's is; gives `rsp` back. Aligned
    // stores, because those that cross cache lines take twice as long.
    unsafe {
        asm!(
            "pxor xmm0, xmm0", "pxor xmm1, xmm1", "pxor xmm2, xmm2", "pxor xmm3, xmm3", "pxor xmm4, xmm4",
            "pxor xmm5, xmm5", "pxor xmm6, xmm6", "pxor xmm7, xmm7", "pxor xmm8, xmm8", "pxor xmm9, xmm9",
            "pxor xmm10, xmm10", "pxor xmm11, xmm11", "pxor xmm12, xmm12", "pxor xmm13, xmm13",
            "pxor xmm14, xmm14", "pxor xmm15, xmm15",
            "mov {top}, rsp", "mov {at}, rsp", "sub rsp, {left}", "sub rsp, 16",
            "movdqu [{at} - 16], xmm0", "and {at}, -16",
            "2:",
            "movdqa [{at} - 16], xmm0", "movdqa [{at} - 32], xmm0", "movdqa [{at} - 48], xmm0", "movdqa [{at} - 64], xmm0",
            "sub {at}, 64", "sub {left}, 64", "jnz 2b", "mov rsp, {top}",
            top = out(reg) _, at = out(reg) _, left = inout(reg) STACK_BYTES => _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _,
            out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _,
            out("xmm13") _, out("xmm14") _, out("xmm15") _,
        );
    }
}
