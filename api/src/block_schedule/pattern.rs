//! Texts with placeholders for a block's portion of the data, like `s3://lake/taxi/{date}`.

use super::Portion;
use crate::FieldError;

/// What portions the placeholders of a text are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Period,
    Bucket,
}

/// What a placeholder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placeholder {
    Dataset,
    Date,
    Year,
    Month,
    Day,
    Hour,
    Week,
    EpochDay,
    Start,
    End,
    Bucket,
    FirstUser,
    LastUser,
}

/// A text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Placeholder(Placeholder),
}

const NAMES: [(&str, Placeholder); 13] = [
    ("dataset", Placeholder::Dataset),
    ("date", Placeholder::Date),
    ("year", Placeholder::Year),
    ("month", Placeholder::Month),
    ("day", Placeholder::Day),
    ("hour", Placeholder::Hour),
    ("week", Placeholder::Week),
    ("epoch-day", Placeholder::EpochDay),
    ("start", Placeholder::Start),
    ("end", Placeholder::End),
    ("bucket", Placeholder::Bucket),
    ("first-user", Placeholder::FirstUser),
    ("last-user", Placeholder::LastUser),
];

impl Pattern {
    /// Parses a text. `field` is its path, for errors.
    pub(super) fn parse(text: &str, kind: Kind, field: &str) -> Result<Self, FieldError> {
        let known = || NAMES.iter().filter(|(_, placeholder)| placeholder.is_of(kind));
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let placeholder = after.split_once('}').and_then(|(name, after)| {
                let found = known().find(|(known, _)| *known == name);
                found.map(|(_, placeholder)| (*placeholder, after))
            });
            let Some((placeholder, after)) = placeholder else {
                let known: Vec<String> = known().map(|(name, _)| format!("{{{name}}}")).collect();
                let known = known.join(", ");
                let problem = format!("{text:?} has a placeholder that there isn't: write one of {known}");
                return Err(FieldError::new(field, problem));
            };
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Placeholder(placeholder));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    /// Whether it has a placeholder.
    pub(super) fn has(&self, placeholder: Placeholder) -> bool {
        self.0.contains(&Piece::Placeholder(placeholder))
    }

    /// The placeholder that it consists of, if that stands for a number.
    pub(super) fn number(&self) -> Option<Placeholder> {
        match self.0.as_slice() {
            [Piece::Placeholder(placeholder)] if placeholder.is_number() => Some(*placeholder),
            _ => None,
        }
    }

    /// The text for a block of `dataset`.
    pub(super) fn text(&self, dataset: &str, portion: &Portion) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Placeholder(placeholder) => text.push_str(&placeholder.text(dataset, portion)),
            }
        }
        text
    }
}

impl Placeholder {
    fn is_of(self, kind: Kind) -> bool {
        match self {
            Self::Dataset => true,
            Self::Bucket | Self::FirstUser | Self::LastUser => kind == Kind::Bucket,
            _ => kind == Kind::Period,
        }
    }

    const fn is_number(self) -> bool {
        matches!(
            self,
            Self::EpochDay | Self::Start | Self::End | Self::Bucket | Self::FirstUser | Self::LastUser
        )
    }

    /// The number that it stands for; none if it stands for a text.
    pub(super) fn number(self, portion: &Portion) -> Option<i64> {
        const MICROS: u64 = 1_000_000;
        let number = match (self, portion) {
            (Self::EpochDay, Portion::Period(period)) => {
                let since = period.local().date() - jiff::civil::date(1970, 1, 1);
                return Some(i64::from(since.get_days()));
            }
            (Self::Start, Portion::Period(period)) => period.start.micros() / MICROS,
            (Self::End, Portion::Period(period)) => period.end.micros() / MICROS,
            (Self::Bucket, Portion::Bucket(bucket)) => bucket.number,
            (Self::FirstUser, Portion::Bucket(bucket)) => bucket.first(),
            (Self::LastUser, Portion::Bucket(bucket)) => bucket.end().saturating_sub(1),
            _ => return None,
        };
        i64::try_from(number).ok()
    }

    /// The text that it stands for.
    pub(super) fn text(self, dataset: &str, portion: &Portion) -> String {
        if let Some(number) = self.number(portion) {
            return number.to_string();
        }
        let Portion::Period(period) = portion else {
            return dataset.to_owned();
        };
        let local = period.local();
        match self {
            Self::Date => local.date().to_string(),
            Self::Year => format!("{:04}", local.year()),
            Self::Month => format!("{:02}", local.month()),
            Self::Day => format!("{:02}", local.day()),
            Self::Hour => format!("{:02}", local.hour()),
            Self::Week => {
                let week = local.date().iso_week_date();
                format!("{:04}-w{:02}", week.year(), week.week())
            }
            // Those of buckets aren't parsed for periods, and numbers were returned above.
            _ => dataset.to_owned(),
        }
    }
}
