//! Entries of the model, and the keyring that control entries make: `keys::rules` and `crypto::open` without a key.

/// Where an entry stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    pub term: u32,
    pub index: u32,
}

/// What a DEK seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    Entries,
    Values,
}

/// What a control entry asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ask {
    Bootstrap { is_cutover: bool },
    Cutover { key: u32 },
    Opener { term: u32 },
    Rotate { key: u32, of: Use },
    Retire { key: u32 },
    Names,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A place below the log: every founder has it.
    Founding,
    /// Raft's own.
    Empty,
    /// A change of the members, raft's own too.
    Members,
    Client,
    Control(Ask),
}

/// What an envelope says of its key, and the place that it was sealed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Seal {
    /// The leadership key of a DEK and an opener. The nonce counts from the opener; nothing random in it is relied on.
    Leadership { key: u32, opener: At, place: At },
    /// The control key of a DEK. Its nonces are random.
    Control { key: u32, place: At },
}

/// One entry of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    pub at: At,
    pub kind: Kind,
    pub seal: Option<Seal>,
    /// The batch that it holds; 0 = none.
    pub batch: u64,
}

impl Entry {
    pub fn founding(index: u32) -> Entry {
        Entry { at: At { term: index.min(1), index }, kind: Kind::Founding, seal: None, batch: 0 }
    }

    pub fn is_control(&self) -> bool {
        matches!(self.kind, Kind::Control(_))
    }
}

/// Where a DEK is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Life {
    Active,
    OpensOnly,
    Retired,
}

/// What applied control entries have made.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ring {
    pub cutover: Option<u32>,
    pub opener: Option<At>,
    /// The key of id n is at n - 1.
    pub deks: Vec<(Use, Life)>,
    /// An entry of clients was applied.
    pub has_clients: bool,
}

impl Ring {
    /// As a cluster has it that began with its keys and without a cutover.
    pub fn bootstrapped() -> Ring {
        let deks = vec![(Use::Entries, Life::Active), (Use::Values, Life::Active)];
        Ring { deks, ..Ring::default() }
    }

    pub fn is_above_cutover(&self, index: u32) -> bool {
        self.cutover.is_some_and(|cutover| index > cutover)
    }

    pub fn active(&self, of: Use) -> Option<u32> {
        let at = self.deks.iter().position(|dek| *dek == (of, Life::Active))?;
        u32::try_from(at + 1).ok()
    }

    pub fn next_key(&self) -> u32 {
        u32::try_from(self.deks.len() + 1).expect("few keys")
    }

    fn can_open(&self, key: u32) -> bool {
        let dek = self.deks.get(key as usize - 1);
        dek.is_some_and(|(of, life)| *of == Use::Entries && *life != Life::Retired)
    }

    /// Whether `entry` is as it must be with the keyring as of the entry before it: sealed if and only if it is above the
    /// cutover, for its place, under a key that is known.
    pub fn opens(&self, entry: &Entry) -> bool {
        let is_above = self.is_above_cutover(entry.at.index);
        match (entry.kind, entry.seal) {
            (Kind::Founding | Kind::Empty | Kind::Members, seal) => seal.is_none(),
            (Kind::Client | Kind::Control(_), None) => !is_above,
            (Kind::Client, Some(Seal::Leadership { key, opener, place })) => {
                let has_key = self.opener == Some(opener) && opener.term == entry.at.term && self.can_open(key);
                is_above && has_key && place == entry.at
            }
            (Kind::Control(_), Some(Seal::Control { key, place })) => {
                is_above && self.can_open(key) && place == entry.at
            }
            (Kind::Client, Some(Seal::Control { .. })) | (Kind::Control(_), Some(Seal::Leadership { .. })) => false,
        }
    }

    /// Applies an entry. A change that the rules refuse has no effect.
    pub fn apply(&mut self, entry: &Entry) {
        match entry.kind {
            Kind::Founding | Kind::Empty | Kind::Members => {}
            Kind::Client => self.has_clients = true,
            Kind::Control(ask) => self.change(ask, entry.at),
        }
    }

    fn change(&mut self, ask: Ask, at: At) {
        match ask {
            Ask::Names => {}
            Ask::Bootstrap { is_cutover } if self.deks.is_empty() && !(is_cutover && self.has_clients) => {
                let has_clients = self.has_clients;
                *self = Ring { cutover: is_cutover.then_some(at.index), has_clients, ..Ring::bootstrapped() };
            }
            Ask::Cutover { key } if self.cutover.is_none() && self.active(Use::Entries) == Some(key) => {
                self.cutover = Some(at.index);
            }
            Ask::Opener { term } if self.cutover.is_some() && term == at.term => self.opener = Some(at),
            Ask::Rotate { key, of } if !self.deks.is_empty() && key == self.next_key() => {
                let before = self.active(of).expect("one is active of each use");
                self.deks[before as usize - 1].1 = Life::OpensOnly;
                self.deks.push((of, Life::Active));
            }
            Ask::Retire { key } => {
                let dek = self.deks.get_mut(key as usize - 1).filter(|dek| **dek == (Use::Entries, Life::OpensOnly));
                dek.into_iter().for_each(|dek| dek.1 = Life::Retired);
            }
            Ask::Bootstrap { .. } | Ask::Cutover { .. } | Ask::Opener { .. } | Ask::Rotate { .. } => {}
        }
    }
}
