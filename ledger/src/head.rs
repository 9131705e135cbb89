//! The head of a ledger: its last entry.

use privatekube_policy::Time;

use crate::Hash;

/// What identifies a ledger's last entry, and what the next entry has to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The sequence number of the last entry, which is the number of entries; 0 without entries.
    pub sequence: u64,
    /// The hash of the last entry; [`Hash::ORIGIN`] without entries.
    pub hash: Hash,
    /// The time of the last entry; the Unix epoch without entries.
    pub time: Time,
}

impl Head {
    /// The head of a ledger without entries.
    pub const ORIGIN: Self = Self {
        sequence: 0,
        hash: Hash::ORIGIN,
        time: Time::from_micros(0),
    };
}
