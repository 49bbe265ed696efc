//! Proof that the CPU has what a kernel needs, as values of no size that only detection makes.

use std::arch::is_x86_feature_detected;

/// 512-bit VAES and VPCLMULQDQ, with masks: `vaes512`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HasVaes512(());

/// 256-bit VAES and VPCLMULQDQ: `vaes256`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HasVaes256(());

/// 128-bit AES-NI and PCLMULQDQ: `aesni`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HasAesNi(());

impl HasVaes512 {
    /// The token, if this CPU and system have the features.
    pub(crate) fn detect() -> Option<Self> {
        let vectors = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("vpclmulqdq");
        let scalars = is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("bmi2");
        (vectors && scalars && has_avx2() && has_aes()).then_some(Self(()))
    }
}

impl HasVaes256 {
    /// The token, if this CPU and system have the features.
    pub(crate) fn detect() -> Option<Self> {
        let vectors = is_x86_feature_detected!("vaes") && is_x86_feature_detected!("vpclmulqdq");
        (vectors && has_avx2() && has_aes()).then_some(Self(()))
    }
}

impl HasAesNi {
    /// The token, if this CPU has the features.
    pub(crate) fn detect() -> Option<Self> {
        has_aes().then_some(Self(()))
    }
}

fn has_avx2() -> bool {
    is_x86_feature_detected!("avx") && is_x86_feature_detected!("avx2")
}

fn has_aes() -> bool {
    is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("sse4.1")
}
