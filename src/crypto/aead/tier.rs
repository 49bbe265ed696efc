//! Which code runs AES-256-GCM and the tags of RFC 8452: the tiers, what a setting may force or deny, and the check of each
//! before it is used.
//!
//! A tier is taken only if this CPU has it, the setting allows it, and it gave known answers once in this process. A
//! tier that fails them is never used again: the next one is taken and the log says so.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use crate::crypto::aead::cpu::HasAesNi;
#[cfg(target_arch = "x86_64")]
use crate::crypto::aead::cpu::HasVaes256;
#[cfg(target_arch = "x86_64")]
use crate::crypto::aead::cpu::HasVaes512;
use crate::crypto::aead::known;
#[cfg(target_arch = "x86_64")]
use crate::crypto::aead::lanes::Lanes;
#[cfg(target_arch = "x86_64")]
use crate::crypto::aead::lanes::TagLanes;
#[cfg(all(target_arch = "x86_64", any(test, feature = "kernels")))]
use crate::crypto::aead::lanes::fewer::Fewer;
#[cfg(all(target_arch = "x86_64", any(test, feature = "kernels")))]
use crate::crypto::aead::lanes::fewer::ONE;
#[cfg(all(target_arch = "x86_64", any(test, feature = "kernels")))]
use crate::crypto::aead::lanes::fewer::SHARED;
#[cfg(all(target_arch = "x86_64", any(test, feature = "kernels")))]
use crate::crypto::aead::lanes::fewer::UNLIKE;
#[cfg(all(target_arch = "x86_64", any(test, feature = "kernels")))]
use crate::crypto::aead::lanes::kernel::Kernel;
use crate::crypto::aead::library::Library;
use crate::crypto::aead::library_tags::LibraryTags;
use crate::crypto::aead::message::Aead;
use crate::crypto::aead::message::KEY_LEN;
use crate::crypto::aead::message::TAG_KEYS_LEN;
use crate::crypto::aead::message::Tags;

/// A way to compute AES-256-GCM, the fastest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Lanes of 512 bits: AVX-512, VAES, VPCLMULQDQ.
    Vaes512,
    /// Lanes of 256 bits: AVX2, VAES, VPCLMULQDQ.
    Vaes256,
    /// Lanes of 128 bits: AES-NI, PCLMULQDQ, SSE4.1.
    AesNi,
    /// The `aes-gcm` crate, everywhere.
    Library,
}

/// Which kernels of a tier run: all, or fewer, to measure what the others are worth. Each has those behind it too.
#[cfg(any(test, feature = "kernels"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// All of them: the tier as it runs.
    All,
    /// Those that all tiers share.
    Shared,
    /// Four messages side by side, whether they are alike or not.
    Unlike,
    /// One message after another.
    One,
}

/// Which tiers may be used: a setting of the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TierChoice {
    /// The fastest that this CPU has.
    #[default]
    Fastest,
    /// This one or none.
    Only(Tier),
    /// The fastest of those that are not denied; `denied[tier as usize]`.
    Without([bool; Tier::ALL.len()]),
}

/// A choice that cannot be had.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TierError {
    /// Operator: no tier has this name.
    #[error("no AEAD tier is called {name:?}: vaes512, vaes256, aesni, library, or each with a minus to deny it")]
    Unknown {
        /// What was written.
        name: String,
    },
    /// Operator: this CPU or system lacks what was forced.
    #[error("this CPU cannot run the AEAD tier {tier}, only {}", present())]
    Missing {
        /// What was forced.
        tier: Tier,
    },
    /// Nobody: the tier computes wrongly on this machine and was forced.
    #[error("the AEAD tier {tier} gives wrong answers on this machine")]
    Wrong {
        /// What was forced.
        tier: Tier,
    },
    /// Operator: nothing is left.
    #[error("every AEAD tier that this CPU can run is denied")]
    NothingLeft,
    /// Operator: it was chosen otherwise before.
    #[error("the AEAD tier {tier} is in use already")]
    Chosen {
        /// What is in use.
        tier: Tier,
    },
}

impl Tier {
    /// Every tier, the fastest first.
    pub const ALL: [Tier; 4] = [Tier::Vaes512, Tier::Vaes256, Tier::AesNi, Tier::Library];

    /// As settings, logs and metrics name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Tier::Vaes512 => "vaes512",
            Tier::Vaes256 => "vaes256",
            Tier::AesNi => "aesni",
            Tier::Library => "library",
        }
    }

    /// Expands a key for this tier; `None` if this CPU cannot run it. Known answers are not asked for: see [`Tier::check`].
    #[must_use]
    pub fn key(self, bytes: &[u8; KEY_LEN]) -> Option<Arc<dyn Aead>> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Tier::Vaes512 => HasVaes512::detect().map(|cpu| Arc::new(Lanes::new(cpu, bytes)) as Arc<dyn Aead>),
            #[cfg(target_arch = "x86_64")]
            Tier::Vaes256 => HasVaes256::detect().map(|cpu| Arc::new(Lanes::new(cpu, bytes)) as Arc<dyn Aead>),
            #[cfg(target_arch = "x86_64")]
            Tier::AesNi => HasAesNi::detect().map(|cpu| Arc::new(Lanes::new(cpu, bytes)) as Arc<dyn Aead>),
            #[cfg(not(target_arch = "x86_64"))]
            Tier::Vaes512 | Tier::Vaes256 | Tier::AesNi => None,
            Tier::Library => Some(Arc::new(Library::new(bytes))),
        }
    }

    /// The same with fewer kernels. The library has only one way: `None`, unless it is all.
    #[cfg(any(test, feature = "kernels"))]
    #[must_use]
    pub fn key_with(self, kernels: Kernels, bytes: &[u8; KEY_LEN]) -> Option<Arc<dyn Aead>> {
        #[cfg(target_arch = "x86_64")]
        fn fewer<K: Kernel>(cpu: Option<K>, kernels: Kernels, bytes: &[u8; KEY_LEN]) -> Option<Arc<dyn Aead>> {
            let cpu = cpu?;
            Some(match kernels {
                Kernels::All => Arc::new(Lanes::new(cpu, bytes)),
                Kernels::Shared => Arc::new(Lanes::new(Fewer::<K, SHARED>(cpu), bytes)),
                Kernels::Unlike => Arc::new(Lanes::new(Fewer::<K, UNLIKE>(cpu), bytes)),
                Kernels::One => Arc::new(Lanes::new(Fewer::<K, ONE>(cpu), bytes)),
            })
        }
        match self {
            #[cfg(target_arch = "x86_64")]
            Tier::Vaes512 => fewer(HasVaes512::detect(), kernels, bytes),
            #[cfg(target_arch = "x86_64")]
            Tier::Vaes256 => fewer(HasVaes256::detect(), kernels, bytes),
            #[cfg(target_arch = "x86_64")]
            Tier::AesNi => fewer(HasAesNi::detect(), kernels, bytes),
            _ if kernels == Kernels::All => self.key(bytes),
            _ => None,
        }
    }

    /// Expands `authentication key(16) | encryption key(32)`; `None` if this CPU cannot run this tier.
    #[must_use]
    pub fn tag_key(self, bytes: &[u8; TAG_KEYS_LEN]) -> Option<Arc<dyn Tags>> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Tier::Vaes512 => HasVaes512::detect().map(|cpu| Arc::new(TagLanes::new(cpu, bytes)) as Arc<dyn Tags>),
            #[cfg(target_arch = "x86_64")]
            Tier::Vaes256 => HasVaes256::detect().map(|cpu| Arc::new(TagLanes::new(cpu, bytes)) as Arc<dyn Tags>),
            #[cfg(target_arch = "x86_64")]
            Tier::AesNi => HasAesNi::detect().map(|cpu| Arc::new(TagLanes::new(cpu, bytes)) as Arc<dyn Tags>),
            #[cfg(not(target_arch = "x86_64"))]
            Tier::Vaes512 | Tier::Vaes256 | Tier::AesNi => None,
            Tier::Library => Some(Arc::new(LibraryTags::new(bytes))),
        }
    }

    /// Whether this CPU can run the tier and it gives known answers; asked once in a process.
    ///
    /// # Errors
    /// [`TierError::Missing`] or [`TierError::Wrong`].
    pub fn check(self) -> Result<(), TierError> {
        static RIGHT: [OnceLock<bool>; Tier::ALL.len()] = [const { OnceLock::new() }; Tier::ALL.len()];
        if self.key(&[0; KEY_LEN]).is_none() {
            return Err(TierError::Missing { tier: self });
        }
        let right = *RIGHT[self as usize].get_or_init(|| {
            let tags = self.tag_key(&known::TAG_KEYS);
            let right = known::answers_are_right(|bytes| self.key(bytes))
                && tags.is_some_and(|tags| known::tags_are_right(tags.as_ref(), &known::TAG_KEYS));
            if !right {
                tracing::error!(tier = self.name(), "AEAD TIER GIVES WRONG ANSWERS: it will not be used");
            }
            right
        });
        if right { Ok(()) } else { Err(TierError::Wrong { tier: self }) }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl TierChoice {
    /// The tier that this choice means on this machine.
    ///
    /// # Errors
    /// If what was forced cannot be had, or nothing is left.
    pub fn resolve(self) -> Result<Tier, TierError> {
        let denied = match self {
            TierChoice::Fastest => [false; Tier::ALL.len()],
            TierChoice::Only(tier) => return tier.check().map(|()| tier),
            TierChoice::Without(denied) => denied,
        };
        let allowed = Tier::ALL.into_iter().filter(|&tier| !denied[tier as usize]);
        allowed.into_iter().find(|tier| tier.check().is_ok()).ok_or(TierError::NothingLeft)
    }
}

impl FromStr for TierChoice {
    type Err = TierError;

    /// `fastest`, the name of a tier to force it, or names to deny, each with a minus: `-vaes512,-vaes256`.
    fn from_str(text: &str) -> Result<Self, TierError> {
        if text == "fastest" {
            return Ok(TierChoice::Fastest);
        }
        if !text.starts_with('-') {
            return tier_named(text).map(TierChoice::Only);
        }
        let mut denied = [false; Tier::ALL.len()];
        for part in text.split(',') {
            let unknown = || TierError::Unknown { name: part.to_owned() };
            denied[tier_named(part.strip_prefix('-').ok_or_else(unknown)?)? as usize] = true;
        }
        Ok(TierChoice::Without(denied))
    }
}

/// The tiers that this CPU can run, for an operator.
fn present() -> String {
    let present = Tier::ALL.into_iter().filter(|tier| tier.key(&[0; KEY_LEN]).is_some());
    present.map(Tier::name).collect::<Vec<&str>>().join(", ")
}

fn tier_named(name: &str) -> Result<Tier, TierError> {
    let unknown = || TierError::Unknown { name: name.to_owned() };
    Tier::ALL.into_iter().find(|tier| tier.name() == name).ok_or_else(unknown)
}

/// The tier of this process.
static CHOSEN: OnceLock<Tier> = OnceLock::new();

/// The variable of the node's setting. In builds for tests and debugging it is read where nothing was chosen, too.
const VARIABLE: &str = "SEALKV_AEAD_TIER";

/// Fixes the tier of every key that [``key`] makes from here on. Call it once, before the first key.
///
/// # Errors
/// If the choice cannot be had, or another tier is in use already.
pub fn choose(choice: TierChoice) -> Result<Tier, TierError> {
    let tier = choice.resolve()?;
    let used = *CHOSEN.get_or_init(|| tier);
    if used != tier {
        return Err(TierError::Chosen { tier: used });
    }
    tracing::info!(tier = tier.name(), "AEAD tier");
    Ok(tier)
}

/// The tier of this process; chosen now if it was not before.
#[must_use]
pub fn chosen() -> Tier {
    *CHOSEN.get_or_init(|| {
        let tier = choice_of_environment().resolve().unwrap_or_else(|error| panic!("{VARIABLE}: {error}"));
        tracing::info!(tier = tier.name(), "AEAD tier");
        tier
    })
}

/// What the environment says, in builds that ask it.
fn choice_of_environment() -> TierChoice {
    if !cfg!(any(test, debug_assertions, feature = "testing")) {
        return TierChoice::Fastest;
    }
    match std::env::var(VARIABLE) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{VARIABLE}: {error}")),
        Err(_) => TierChoice::Fastest,
    }
}

/// Expands a key for the fastest tier of this machine; the choice is made here, once per key, never per message.
#[must_use]
pub fn key(bytes: &[u8; KEY_LEN]) -> Arc<dyn Aead> {
    chosen().key(bytes).unwrap_or_else(|| Arc::new(Library::new(bytes)))
}

/// The same for the keys of RFC 8452 tags.
#[must_use]
pub fn tag_key(bytes: &[u8; TAG_KEYS_LEN]) -> Arc<dyn Tags> {
    chosen().tag_key(bytes).unwrap_or_else(|| Arc::new(LibraryTags::new(bytes)))
}
