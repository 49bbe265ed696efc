//! What a control entry makes of the keyring: a function of replicated bytes alone (SAME-DECISION).
//!
//! It never unwraps a key, reads no clock and no settings, so every replica comes to the same answer. A change that does
//! not apply is a no-op with an error, never a halt. Nothing leads back (NO-WAY-DOWN): a cutover that is set stays, a
//! DEK's state only goes forward, an id is never used again.

use crate::crypto::derive::CHECK_LEN;
use crate::crypto::keystore::Purpose;
use crate::crypto::keystore::TermSalt;
use crate::crypto::names::ClearNameKey;
use crate::crypto::wrap::WRAPPED_LEN;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::ids::Position;
use crate::ids::Term;
use crate::keys::change::Bootstrap;
use crate::keys::change::BootstrapKind;
use crate::keys::change::Change;
use crate::keys::change::NewKey;
use crate::keys::change::PublishOpener;
use crate::keys::change::Retire;
use crate::keys::change::Rotate;
use crate::keys::change::SetCutover;
use crate::keys::keyring::ClearRows;
use crate::keys::keyring::DekState;
use crate::keys::keyring::Keyring;
use crate::keys::keyring::Naming;
use crate::keys::keyring::WrappedDek;

/// Replicated facts beside the keyring, from the applied row below the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The cluster whose state this is.
    pub cluster: ClusterId,
    /// An entry of client commands was applied before.
    pub client_command_applied: bool,
}

/// Why a change does not apply. The keyring stays as it is; the proposer learns this, nobody halts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// There is a keyring already.
    #[error("the cluster has its keys already")]
    SecondBootstrap,
    /// Made for another cluster.
    #[error("bootstrap for cluster {named}, this is {cluster}")]
    OtherCluster {
        /// In the entry.
        named: ClusterId,
        /// In the state.
        cluster: ClusterId,
    },
    /// Bootstrap as the cutover, but what clients wrote before would not be sealed: bootstrap, then ask for the cutover.
    #[error("client commands were applied before: the bootstrap cannot be the cutover")]
    CutoverBehindClients,
    /// There is no keyring yet.
    #[error("the cluster has no keys yet: bootstrap first")]
    NotBootstrapped,
    /// Sealing is on already.
    #[error("sealing is on since index {cutover}")]
    CutoverIsSet {
        /// Since this index.
        cutover: Index,
    },
    /// The DEK changed between proposing and applying.
    #[error("key {named} is not the active entry key, {active} is")]
    NotActive {
        /// In the entry.
        named: KeyId,
        /// In the keyring.
        active: KeyId,
    },
    /// Nothing is sealed yet.
    #[error("an opener before the cutover")]
    OpenerBeforeCutover,
    /// Published for another term than the entry's own.
    #[error("an opener of term {named} in an entry of term {term}")]
    OpenerTerm {
        /// In the entry's text.
        named: Term,
        /// The entry's.
        term: Term,
    },
    /// The salt of the newest opener again: two leadership keys would be one.
    #[error("the salt of the opener at index {index} again")]
    SaltAgain {
        /// The newest opener.
        index: Index,
    },
    /// What rows are named with is settled: there is a key for it, there are keys, or there are rows.
    #[error("the names of rows are settled")]
    NamesAreSettled,
    /// Ids are given out in order and never twice.
    #[error("key id {named} is not the next one, {next}")]
    NotNextId {
        /// In the entry.
        named: KeyId,
        /// In the keyring.
        next: KeyId,
    },
    /// Two of the keys are one (equal check values).
    #[error("a key that is in the keyring already, or twice in the entry")]
    SameKey,
    /// As many DEKs as a keyring may ever have.
    #[error("the keyring is full")]
    Full,
    /// No such DEK.
    #[error("there is no key {key_id}")]
    UnknownKey {
        /// In the entry.
        key_id: KeyId,
    },
    /// Active, or stored values may need it.
    #[error("key {key_id} is in use")]
    InUse {
        /// In the entry.
        key_id: KeyId,
    },
    /// Retired before.
    #[error("key {key_id} is retired already")]
    IsRetired {
        /// In the entry.
        key_id: KeyId,
    },
    /// The entry is not above everything that the keyring names.
    #[error("a change at index {index}, the keyring is at {newest} already")]
    NotAbove {
        /// The entry's.
        index: Index,
        /// Newest index in the keyring.
        newest: Index,
    },
}

/// What `keyring` becomes by the control entry `change` at `at`.
///
/// # Errors
/// [`RuleError`]: the entry is a no-op.
pub fn decide(keyring: Option<&Keyring>, change: &Change, at: Position, facts: Facts) -> Result<Keyring, RuleError> {
    let next = match (keyring, change) {
        (None, Change::Bootstrap(bootstrap)) => first(bootstrap, at, facts)?,
        (_, Change::Names(_)) => return Err(RuleError::NamesAreSettled),
        (Some(_), Change::Bootstrap(_)) => return Err(RuleError::SecondBootstrap),
        (None, _) => return Err(RuleError::NotBootstrapped),
        (Some(keyring), _) => {
            is_above(keyring, at)?;
            match change {
                Change::Cutover(cutover) => cut_over(keyring, *cutover, at)?,
                Change::Opener(opener) => open_term(keyring, opener, at)?,
                Change::Rotate(rotate) => rotate_dek(keyring, rotate, at)?,
                Change::Retire(retire) => retire_dek(keyring, *retire)?,
                Change::Bootstrap(_) => return Err(RuleError::SecondBootstrap),
                Change::Names(_) => return Err(RuleError::NamesAreSettled),
            }
        }
    };
    assert_no_way_down(keyring, &next);
    Ok(next)
}

/// Whether an entry may draw what rows are named with: while it is not drawn, and there are neither keys nor rows.
///
/// # Errors
/// [`RuleError::NamesAreSettled`]: the entry is a no-op.
pub fn draw_names(known: &ClearNameKey, keyring: Option<&Keyring>, facts: Facts) -> Result<(), RuleError> {
    let is_open = *known == ClearNameKey::UNDRAWN && keyring.is_none() && !facts.client_command_applied;
    if is_open { Ok(()) } else { Err(RuleError::NamesAreSettled) }
}

fn first(bootstrap: &Bootstrap, at: Position, facts: Facts) -> Result<Keyring, RuleError> {
    if bootstrap.cluster != facts.cluster {
        return Err(RuleError::OtherCluster { named: bootstrap.cluster, cluster: facts.cluster });
    }
    let is_cutover = bootstrap.kind == BootstrapKind::Cutover;
    if is_cutover && facts.client_command_applied {
        return Err(RuleError::CutoverBehindClients);
    }
    let Bootstrap { entry, value, mac, name, .. } = bootstrap;
    let mut checks = [entry, value, mac, name].map(|key| key.check);
    checks.sort_unstable();
    if checks.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(RuleError::SameKey);
    }
    let [entry_id, value_id] = [1, 2].map(|id| KeyId::new(id).expect("not 0"));
    Ok(Keyring {
        cluster: bootstrap.cluster,
        cutover: if is_cutover { at.index } else { Index::NEVER },
        clear_rows: if is_cutover { ClearRows::None } else { ClearRows::Allowed },
        active_entry: entry_id,
        active_value: value_id,
        opener: None,
        mac: *mac,
        // By the entry alone. The facts of this replica are of a record that nothing signs yet: whoever owns the disk could
        // change them, and names would stay readable for ever.
        naming: match bootstrap.kind {
            BootstrapKind::Cutover | BootstrapKind::SecretNames => Naming::Secret(*name),
            BootstrapKind::ClearNames => Naming::Clear,
        },
        deks: vec![active_dek(entry_id, Purpose::Entry, entry, at), active_dek(value_id, Purpose::Value, value, at)],
    })
}

fn cut_over(keyring: &Keyring, cutover: SetCutover, at: Position) -> Result<Keyring, RuleError> {
    if keyring.is_sealing() {
        return Err(RuleError::CutoverIsSet { cutover: keyring.cutover });
    }
    if cutover.entry_key != keyring.active_entry {
        return Err(RuleError::NotActive { named: cutover.entry_key, active: keyring.active_entry });
    }
    Ok(Keyring { cutover: at.index, clear_rows: ClearRows::Allowed, ..keyring.clone() })
}

fn open_term(keyring: &Keyring, opener: &PublishOpener, at: Position) -> Result<Keyring, RuleError> {
    if !keyring.is_sealing() {
        return Err(RuleError::OpenerBeforeCutover);
    }
    // Term 0 is before any election: no leader has it, and a keyring writes it for "no opener".
    if opener.term != at.term || at.term == Term(0) {
        return Err(RuleError::OpenerTerm { named: opener.term, term: at.term });
    }
    if let Some(newest) = keyring.opener.as_ref().filter(|newest| newest.salt == opener.salt) {
        return Err(RuleError::SaltAgain { index: newest.index });
    }
    let opener = TermSalt { term: at.term, index: at.index, salt: opener.salt };
    Ok(Keyring { opener: Some(opener), ..keyring.clone() })
}

fn rotate_dek(keyring: &Keyring, rotate: &Rotate, at: Position) -> Result<Keyring, RuleError> {
    let next = keyring.next_key_id().ok_or(RuleError::Full)?;
    if rotate.key_id != next {
        return Err(RuleError::NotNextId { named: rotate.key_id, next });
    }
    if has_check(keyring, &rotate.key.check) {
        return Err(RuleError::SameKey);
    }
    let mut keyring = keyring.clone();
    let active = match rotate.purpose {
        Purpose::Entry => &mut keyring.active_entry,
        Purpose::Value => &mut keyring.active_value,
    };
    let before = std::mem::replace(active, rotate.key_id);
    dek_mut(&mut keyring, before).state = DekState::DecryptOnly;
    keyring.deks.push(active_dek(rotate.key_id, rotate.purpose, &rotate.key, at));
    Ok(keyring)
}

/// A value DEK is never retired yet: stored values may need it until a rewrite pass over all rows has completed.
fn retire_dek(keyring: &Keyring, retire: Retire) -> Result<Keyring, RuleError> {
    let key_id = retire.key_id;
    let dek = keyring.dek(key_id).ok_or(RuleError::UnknownKey { key_id })?;
    match (dek.state, dek.purpose) {
        (DekState::Retired, _) => return Err(RuleError::IsRetired { key_id }),
        (DekState::Active, _) | (DekState::DecryptOnly, Purpose::Value) => return Err(RuleError::InUse { key_id }),
        (DekState::DecryptOnly, Purpose::Entry) => {}
    }
    let mut keyring = keyring.clone();
    let dek = dek_mut(&mut keyring, key_id);
    dek.state = DekState::Retired;
    dek.wrapped = [0; WRAPPED_LEN];
    Ok(keyring)
}

fn is_above(keyring: &Keyring, at: Position) -> Result<(), RuleError> {
    let cutover = keyring.is_sealing().then_some(keyring.cutover);
    let opener = keyring.opener.as_ref().map(|opener| opener.index);
    let youngest = keyring.deks.last().map(|dek| dek.active_from);
    let newest = [cutover, opener, youngest].into_iter().flatten().max().unwrap_or_default();
    if at.index > newest { Ok(()) } else { Err(RuleError::NotAbove { index: at.index, newest }) }
}

fn active_dek(id: KeyId, purpose: Purpose, key: &NewKey, at: Position) -> WrappedDek {
    let NewKey { check, wrapped } = *key;
    WrappedDek { id, purpose, state: DekState::Active, active_from: at.index, check, wrapped }
}

fn has_check(keyring: &Keyring, check: &[u8; CHECK_LEN]) -> bool {
    keyring.checks().any(|known| known == *check)
}

fn dek_mut(keyring: &mut Keyring, key_id: KeyId) -> &mut WrappedDek {
    let dek = keyring.deks.iter_mut().find(|dek| dek.id == key_id);
    dek.expect("looked up just before, or named active by the keyring")
}

/// NO-WAY-DOWN, asserted where every change passes.
fn assert_no_way_down(before: Option<&Keyring>, after: &Keyring) {
    assert_eq!(after.coherent(), Ok(()), "the rules make coherent keyrings only");
    let Some(before) = before else { return };
    assert_eq!(before.cluster, after.cluster, "a keyring stays with its cluster");
    assert!(!before.is_sealing() || before.cutover == after.cutover, "a cutover that is set stays");
    assert!(before.clear_rows == after.clear_rows || !before.is_sealing(), "clear rows never come back");
    assert_eq!(before.naming, after.naming, "rows are found by one kind of names for ever");
    assert!(before.deks.len() <= after.deks.len(), "a DEK's row is never removed");
    for (old, new) in before.deks.iter().zip(&after.deks) {
        assert_eq!(old.id, new.id, "an id is never used again");
        assert!(old.state <= new.state, "a DEK's state only goes forward");
    }
}
