//! Neighbouring data sets, on which the cost of a randomized response depends.

/// Which data sets are neighbours: those that a randomized response must not tell apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Neighbours {
    /// One record is replaced with another.
    #[default]
    ReplaceOne,
    /// One record is replaced with a record without a value, which answers with each category equally often.
    ReplaceSpecial,
}

impl Neighbours {
    pub(super) const ALL: [Self; 2] = [Self::ReplaceOne, Self::ReplaceSpecial];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ReplaceOne => "replace-one",
            Self::ReplaceSpecial => "replace-special",
        }
    }
}
