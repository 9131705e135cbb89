//! Where a ledger ends.

use privatekube_policy::Time;

use crate::Hash;

/// What a ledger's last entry is known by, and what the next one is to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The sequence number of the last entry, which is how many there are; 0 if there is none.
    pub sequence: u64,
    /// The hash of the last entry; [`Hash::ORIGIN`] if there is none.
    pub hash: Hash,
    /// The time of the last entry; the start of time if there is none.
    pub time: Time,
}

impl Head {
    /// That of a ledger without entries.
    pub const ORIGIN: Self = Self {
        sequence: 0,
        hash: Hash::ORIGIN,
        time: Time::from_micros(0),
    };
}
