//! Which data sets are neighbours: what a mechanism costs depends on it.

/// Which data sets a randomized response doesn't tell apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Neighbours {
    /// Another record in place of one.
    #[default]
    ReplaceOne,
    /// A record without a value in place of one; it answers with all categories alike.
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
