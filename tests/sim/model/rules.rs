//! The rules of sealing, each of which can be switched off, and what is wrong when one is broken.

/// Which rules hold. A model in which one does not must be found wanting by the checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// N1: nothing is sealed in a term that this node does not hold durably.
    pub term_is_durable: bool,
    /// N2: nothing is proposed before the empty entry of the term is applied.
    pub empty_is_applied: bool,
    /// N2: above the cutover the opener of the term goes before everything else.
    pub opener_first: bool,
    /// N3: nothing is proposed behind a control entry that is not applied.
    pub control_is_applied: bool,
    /// N4: an opener is renewed before the field of its nonces is used up.
    pub opener_is_renewed: bool,
    /// N5: a backup becomes a cluster under a new id only.
    pub restored_is_new: bool,
    /// N6: the position is read just before the batch is stepped.
    pub place_is_fresh: bool,
    /// N6: a batch that was sealed and not appended is dropped.
    pub sealed_once: bool,
}

impl Rules {
    pub const ALL: Rules = Rules {
        term_is_durable: true,
        empty_is_applied: true,
        opener_first: true,
        control_is_applied: true,
        opener_is_renewed: true,
        restored_is_new: true,
        place_is_fresh: true,
        sealed_once: true,
    };
}

/// Why a step cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// Another node leads that term, or none.
    NotLeader,
    /// N1.
    TermNotDurable,
    /// N2.
    EmptyNotApplied,
    /// N2.
    OpenerMissing,
    /// N3.
    BehindControl,
    /// There is no key to seal with.
    NoKey,
    /// It is not sealed as the leader's keyring wants it, or another kind of entry.
    OtherEntry,
    /// It does not open with the keyring as of its index.
    DoesNotOpen,
    /// A term has two leaders, or one that most nodes do not hold durably, or that lacks what is committed.
    BadElection,
    /// Nobody made this entry, or the log before it is another one.
    OtherHistory,
    /// Not on the disks of a majority, or not on its own.
    NotCommitted,
    /// A keyring that the applied entries do not make.
    OtherKeyring,
    /// The log after a restart is none that the log before it could have left.
    OtherRemains,
    /// A pair of key and nonce, or a batch, was used before.
    UsedBefore,
}

/// What must never be true of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wrong {
    VolatileTerm,
    BeforeOpener,
    BehindControl,
    NonceReused,
    SealedTwice,
}
