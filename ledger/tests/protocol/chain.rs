//! Entries as numbers: an entry's number stands for itself and all entries before it, as its hash does.

use std::fmt;

/// The most entries of a chain.
pub(crate) const MOST_ENTRIES: usize = 4;

/// A chain of entries, which is also the name of its last entry: eight bits for each entry, the last one lowest. Two
/// entries are the same if and only if they and all entries before them are, as with hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Chain(u32);

/// More than the codes of an entry.
const CODES: u8 = 64;

/// For each code of an entry, the one with other names in it.
pub(crate) type Codes = [u32; CODES as usize];

/// The codes with other names: writer `i` becomes `writers[i]`, and claim `i` `claims[i]`.
pub(crate) fn codes(writers: &[u8], claims: &[u8]) -> Codes {
    let mut codes = [0; CODES as usize];
    for (code, renamed) in codes.iter_mut().enumerate().skip(1) {
        let (decided, is_granted) = ((code - 1) / 2, (code - 1) % 2);
        if let Some(writer) = writers.get(decided / claims.len()) {
            let claim = usize::from(claims[decided % claims.len()]);
            let decided = usize::from(*writer) * claims.len() + claim;
            *renamed = u32::try_from(1 + decided * 2 + is_granted).unwrap();
        }
    }
    codes
}

/// What an entry holds: the decision about one claim, and its writer's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) writer: u8,
    pub(crate) claim: u8,
    pub(crate) is_granted: bool,
}

impl Chain {
    pub(crate) const EMPTY: Self = Self(0);

    /// How many entries it has, which is the sequence number of the last.
    pub(crate) const fn length(self) -> usize {
        MOST_ENTRIES - self.0.leading_zeros() as usize / 8
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The chain with one entry more. `claims` is how many claims there are.
    pub(crate) fn with(self, decision: Decision, claims: u8) -> Self {
        let code = 1 + (decision.writer * claims + decision.claim) * 2 + u8::from(decision.is_granted);
        assert!(
            code < CODES && self.length() < MOST_ENTRIES,
            "the code has no room"
        );
        Self(self.0 << 8 | u32::from(code))
    }

    /// The first `length` entries.
    pub(crate) const fn until(self, length: usize) -> Self {
        Self(self.0 >> (8 * (self.length() - length)))
    }

    pub(crate) const fn before(self) -> Self {
        Self(self.0 >> 8)
    }

    pub(crate) fn begins_with(self, other: Self) -> bool {
        self.length() >= other.length() && self.until(other.length()) == other
    }

    /// The decision of its last entry.
    pub(crate) const fn last(self, claims: u8) -> Decision {
        let code = (self.0 & 255) as u8 - 1;
        Decision {
            writer: code / 2 / claims,
            claim: code / 2 % claims,
            is_granted: code % 2 == 1,
        }
    }

    /// Its decisions, the last one first.
    pub(crate) fn decisions(self, claims: u8) -> impl Iterator<Item = Decision> {
        (0..self.length()).map(move |back| Self(self.0 >> (8 * back)).last(claims))
    }

    /// How many claims it grants.
    pub(crate) fn grants(self, claims: u8) -> usize {
        self.decisions(claims)
            .filter(|decision| decision.is_granted)
            .count()
    }

    /// The chain with other names in it.
    pub(crate) const fn renamed(self, codes: &Codes) -> Self {
        let mut renamed = 0;
        let mut back = 0;
        while back < 32 && self.0 >> back != 0 {
            renamed |= codes[((self.0 >> back) & 255) as usize] << back;
            back += 8;
        }
        Self(renamed)
    }

    pub(crate) fn decides(self, claim: u8, claims: u8) -> bool {
        self.decisions(claims).any(|decision| decision.claim == claim)
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let claim = char::from(b'a' + self.claim);
        let decides = if self.is_granted { "grants" } else { "denies" };
        write!(f, "{} {decides} {claim}", name(self.writer))
    }
}

/// A writer's name.
pub(crate) fn name(writer: u8) -> String {
    format!("w{}", writer + 1)
}

/// A set of a few chains, sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Set<const MOST: usize>([u32; MOST]);

impl<const MOST: usize> Set<MOST> {
    pub(crate) fn empty() -> Self {
        Self([0; MOST])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Chain> + '_ {
        self.0
            .iter()
            .filter(|chain| **chain != 0)
            .map(|chain| Chain(*chain))
    }

    pub(crate) fn contains(&self, chain: Chain) -> bool {
        self.0.contains(&chain.0)
    }

    /// Adds `chain`. Returns whether there was room for it.
    #[must_use]
    pub(crate) fn add(&mut self, chain: Chain) -> bool {
        if self.contains(chain) {
            return true;
        }
        // Places that are free are zeros, which are sorted first.
        if self.0[0] != 0 {
            return false;
        }
        self.0[0] = chain.0;
        self.0.sort_unstable();
        true
    }

    pub(crate) fn rename(&mut self, codes: &Codes) {
        for chain in &mut self.0 {
            *chain = Chain(*chain).renamed(codes).0;
        }
        self.0.sort_unstable();
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(Chain) -> bool) {
        for chain in &mut self.0 {
            if *chain != 0 && !keep(Chain(*chain)) {
                *chain = 0;
            }
        }
        self.0.sort_unstable();
    }
}
