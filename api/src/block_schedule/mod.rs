//! How the blocks of a dataset come by themselves: one for each hour, day or week, or one for each bucket of users.
//!
//! Everything here is a function of the schedule and of moments that are given: which portions there are, which of them are
//! due, and the block of each. Nothing reads a clock.

mod buckets;
mod pattern;
mod periods;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kube::{KubeSchema, core::ObjectMeta};
use privatekube_policy::Time;
use serde::{Deserialize, Serialize};

pub use self::{buckets::UserBlocks, periods::PeriodicBlocks};
use self::{
    buckets::{Bucket, UserBuckets},
    pattern::{Kind, Pattern, Placeholder},
    periods::{Period, PeriodSchedule, Unit},
};
use crate::{
    BudgetAmount, Dimension, FieldError, FieldErrors, LABEL_DATASET, LastBlock, PortionSpec, PrivacyUnit,
    PrivateDataBlock, PrivateDataBlockSpec, PrivateDatasetSpec, SpentBefore,
    declared_dimensions::DimensionType, is_object_name, moment, parse_rfc3339, request::keep,
};

/// The most blocks that a schedule may owe when it is stated. More than a dataset is measured with would come at once, and a
/// block in a ledger stays there.
const MOST_AT_ONCE: u64 = 10_000;

/// How blocks come by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "[has(self.hourly), has(self.daily), has(self.weekly), has(self.users)].filter(given, given).size() == 1")
        .message("give exactly one of hourly, daily, weekly and users"),
)]
pub struct BlocksSpec {
    /// A block for each hour of UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PeriodicBlocks")]
    pub hourly: Option<PeriodicBlocks>,
    /// A block for each day of timeZone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PeriodicBlocks")]
    pub daily: Option<PeriodicBlocks>,
    /// A block for each week of timeZone, from the day of the week of `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PeriodicBlocks")]
    pub weekly: Option<PeriodicBlocks>,
    /// A block for each bucket of users, numbered as they come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UserBlocks")]
    pub users: Option<UserBlocks>,
}

/// A schedule of blocks, parsed.
#[derive(Clone, Debug)]
pub struct BlockSchedule {
    field: &'static str,
    portions: Portions,
    name: Pattern,
    data_source: Option<Pattern>,
    dimensions: BTreeMap<String, ScheduledDimension>,
    initial_budget: Option<BudgetAmount>,
    spent: Option<SpentBefore>,
}

/// What portions the data is divided into.
#[derive(Clone, Debug)]
enum Portions {
    Periods(PeriodSchedule),
    Users(UserBuckets),
}

/// A portion of the data that has a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Portion {
    Period(Period),
    Bucket(Bucket),
}

#[derive(Clone, Debug)]
enum ScheduledDimension {
    Same(Dimension),
    Text(Pattern),
    Number(Placeholder),
}

/// How far blocks have come by themselves: no block is made of an earlier portion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// The end of the last block's period.
    pub until: Time,
    /// How many users have blocks.
    pub users: u64,
}

/// A block that is due.
#[derive(Clone, Debug, PartialEq)]
pub struct DueBlock {
    /// Its object.
    pub block: PrivateDataBlock,
    /// How far blocks have come with it.
    pub made: Made,
}

/// What all schedules state of their blocks.
struct Texts<'a> {
    name: &'a str,
    data_source: Option<&'a str>,
    dimensions: &'a BTreeMap<String, Dimension>,
}

impl Made {
    /// What the status of a dataset says.
    #[must_use]
    pub fn of(last: Option<&LastBlock>) -> Self {
        let end = last.and_then(|last| last.end.as_deref());
        Self {
            until: end.and_then(parse_rfc3339).unwrap_or_default(),
            users: last.and_then(|last| last.users).unwrap_or_default(),
        }
    }

    /// How far blocks have come with this one, which may have come by itself.
    #[must_use]
    pub fn with_block(block: &PrivateDataBlock) -> Self {
        let portion = block.spec.portion.as_ref();
        let end = portion.and_then(|portion| portion.end.as_deref());
        Self {
            until: end.and_then(parse_rfc3339).unwrap_or_default(),
            users: portion.and_then(|portion| portion.end_user).unwrap_or_default(),
        }
    }

    /// The further one of both.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            until: self.until.max(other.until),
            users: self.users.max(other.users),
        }
    }

    /// What the status of a dataset says whose last block is `name`.
    #[must_use]
    pub fn last_block(self, name: String) -> LastBlock {
        LastBlock {
            name,
            end: (self.until != Time::default()).then(|| moment(self.until)),
            users: (self.users > 0).then_some(self.users),
        }
    }
}

impl PrivateDatasetSpec {
    /// Returns how the dataset's blocks come by themselves; none if they don't.
    pub fn block_schedule(&self) -> Result<Option<BlockSchedule>, FieldErrors> {
        let Some(blocks) = &self.blocks else {
            return Ok(None);
        };
        let is_text = |name: &str| {
            let mut declared = self.dimensions.iter();
            declared.any(|declared| declared.name == name && declared.type_ == DimensionType::String)
        };
        let schedule = match (&blocks.hourly, &blocks.daily, &blocks.weekly, &blocks.users) {
            (Some(periods), None, None, None) => {
                BlockSchedule::of_periods(Unit::Hour, "spec.blocks.hourly", periods, is_text)
            }
            (None, Some(periods), None, None) => {
                BlockSchedule::of_periods(Unit::Day, "spec.blocks.daily", periods, is_text)
            }
            (None, None, Some(periods), None) => {
                BlockSchedule::of_periods(Unit::Week, "spec.blocks.weekly", periods, is_text)
            }
            (None, None, None, Some(users)) => BlockSchedule::of_users("spec.blocks.users", users, is_text),
            _ => {
                let problem = "give exactly one of hourly, daily, weekly and users";
                return Err(FieldError::new("spec.blocks", problem).into());
            }
        };
        schedule.map(Some)
    }
}

impl BlockSchedule {
    fn of_periods(
        unit: Unit,
        field: &'static str,
        spec: &PeriodicBlocks,
        is_text: impl Fn(&str) -> bool,
    ) -> Result<Self, FieldErrors> {
        let mut errors = Vec::new();
        let periods = keep(PeriodSchedule::parse(unit, field, spec), &mut errors);
        let texts = Texts {
            name: spec.name.as_deref().unwrap_or_else(|| unit.default_name()),
            data_source: spec.data_source.as_deref(),
            dimensions: &spec.dimensions,
        };
        Self::parse(
            field,
            &texts,
            Kind::Period,
            is_text,
            errors,
            periods.map(Portions::Periods),
            |name| unit.tells_apart(name),
        )
        .map(|schedule| Self {
            initial_budget: spec.initial_budget.clone(),
            ..schedule
        })
    }

    fn of_users(
        field: &'static str,
        spec: &UserBlocks,
        is_text: impl Fn(&str) -> bool,
    ) -> Result<Self, FieldErrors> {
        let mut errors = Vec::new();
        let buckets = keep(UserBuckets::parse(field, spec), &mut errors);
        let texts = Texts {
            name: spec.name.as_deref().unwrap_or(buckets::DEFAULT_NAME),
            data_source: spec.data_source.as_deref(),
            dimensions: &spec.dimensions,
        };
        Self::parse(
            field,
            &texts,
            Kind::Bucket,
            is_text,
            errors,
            buckets.map(Portions::Users),
            buckets::tells_apart,
        )
        .map(|schedule| Self {
            initial_budget: spec.initial_budget.clone(),
            spent: spec.counted.clone(),
            ..schedule
        })
    }

    /// `tells_apart` returns what a name needs that would be that of several blocks.
    fn parse(
        field: &'static str,
        texts: &Texts<'_>,
        kind: Kind,
        is_text: impl Fn(&str) -> bool,
        mut errors: Vec<FieldError>,
        portions: Option<Portions>,
        tells_apart: impl Fn(&Pattern) -> Result<(), &'static str>,
    ) -> Result<Self, FieldErrors> {
        let name_field = format!("{field}.name");
        let name = Pattern::parse(texts.name, kind, &name_field).and_then(|name| match tells_apart(&name) {
            Ok(()) => Ok(name),
            Err(needed) => {
                let problem = format!(
                    "{:?} would be the name of several blocks: it needs {needed}",
                    texts.name
                );
                Err(FieldError::new(name_field, problem))
            }
        });
        let name = keep(name, &mut errors);
        let data_source = texts
            .data_source
            .map(|text| Pattern::parse(text, kind, &format!("{field}.dataSource")));
        let data_source = keep(data_source.transpose(), &mut errors).flatten();
        let mut dimensions = BTreeMap::new();
        for (name, value) in texts.dimensions {
            let field = format!("{field}.dimensions.{name}");
            let parsed = ScheduledDimension::parse(value, kind, &field, is_text(name));
            dimensions.extend(keep(parsed, &mut errors).map(|parsed| (name.clone(), parsed)));
        }
        let schedule = portions.zip(name).map(|(portions, name)| Self {
            field,
            portions,
            name,
            data_source,
            dimensions,
            initial_budget: None,
            spent: None,
        });
        FieldErrors::unless_empty(errors, schedule)
    }

    /// Whether the dataset's blocks were divided in the other way: a user's data of a day is in a block of either.
    fn is_divided_otherwise(&self, made: Made) -> bool {
        match &self.portions {
            Portions::Periods(_) => made.users > 0,
            Portions::Users(_) => made.until > Time::default(),
        }
    }

    /// What is suspicious about the schedule, beside the privacy unit that the dataset states.
    #[must_use]
    pub fn warning(&self, unit: Option<PrivacyUnit>) -> Option<String> {
        let (is, fits) = match (&self.portions, unit?) {
            (Portions::Periods(_), PrivacyUnit::User) => ("blocks are periods", "Event or UserTime"),
            (Portions::Users(_), PrivacyUnit::Event | PrivacyUnit::UserTime) => {
                ("blocks are buckets of users", "User")
            }
            _ => return None,
        };
        let unit = unit?;
        Some(format!(
            "spec.privacyUnit is {unit:?}, and {is}: budget of a block protects no such unit. With these blocks it is {fits}"
        ))
    }

    /// Checks the name of a block of dataset `dataset`, and that not too many blocks come at once `now`, after what was made.
    pub fn check(&self, dataset: &str, made: Made, now: Time) -> Result<(), FieldErrors> {
        if self.is_divided_otherwise(made) {
            let problem = "the dataset's data is divided in the other way already, by time or by users, and would get a second \
                           budget: make another dataset for other data";
            return Err(FieldError::new(self.field, problem).into());
        }
        let Some(first) = self.first() else {
            let problem = "is out of range: write a day from 1970-01-01 to 9999-12-30";
            return Err(FieldError::new(format!("{}.from", self.field), problem).into());
        };
        let name = self.name.text(dataset, &first);
        if !is_object_name(&name) {
            let problem = format!(
                "{name:?} would be the name of a block: it must have lower-case letters, digits, '-' and '.', at most 253"
            );
            return Err(FieldError::new(format!("{}.name", self.field), problem).into());
        }
        let (field, count) = match &self.portions {
            Portions::Periods(periods) => ("from", periods.count(made.until, now)),
            Portions::Users(buckets) => ("count", buckets.count(made.users)),
        };
        if count > MOST_AT_ONCE {
            let problem = format!("lets {count} blocks come at once: at most {MOST_AT_ONCE} may");
            return Err(FieldError::new(format!("{}.{field}", self.field), problem).into());
        }
        Ok(())
    }

    /// The blocks that are due `now`, in order: those after what was made, and not those that would be retired already.
    pub fn due<'a>(
        &'a self,
        namespace: &'a str,
        dataset: &'a str,
        made: Made,
        now: Time,
    ) -> impl Iterator<Item = DueBlock> + 'a {
        let mut made = made;
        std::iter::from_fn(move || {
            if self.is_divided_otherwise(made) {
                return None;
            }
            let (portion, then) = match &self.portions {
                Portions::Periods(periods) => {
                    let period = periods
                        .next(made.until, now)
                        .filter(|period| periods.comes_at(period) <= now)?;
                    let until = period.end;
                    (Portion::Period(period), Made { until, ..made })
                }
                Portions::Users(buckets) => {
                    let bucket = buckets.next(made.users)?;
                    let users = bucket.end();
                    (Portion::Bucket(bucket), Made { users, ..made })
                }
            };
            made = then;
            let block = self.block(namespace, dataset, &portion);
            Some(DueBlock { block, made })
        })
    }

    /// When the next block comes after what was made; none if none does.
    #[must_use]
    pub fn next_due(&self, made: Made, now: Time) -> Option<Time> {
        if self.is_divided_otherwise(made) {
            return None;
        }
        match &self.portions {
            Portions::Periods(periods) => periods
                .next(made.until, now)
                .map(|period| periods.comes_at(&period)),
            Portions::Users(buckets) => buckets.next(made.users).map(|_| now),
        }
    }

    /// The first block, to check what every block of the schedule says.
    #[must_use]
    pub fn first_block(&self, dataset: &str) -> Option<PrivateDataBlock> {
        self.first().map(|portion| self.block("", dataset, &portion))
    }

    fn first(&self) -> Option<Portion> {
        match &self.portions {
            Portions::Periods(periods) => periods.period(0).map(Portion::Period),
            Portions::Users(buckets) => Some(Portion::Bucket(buckets.bucket(0))),
        }
    }

    fn block(&self, namespace: &str, dataset: &str, portion: &Portion) -> PrivateDataBlock {
        let text = |pattern: &Pattern| pattern.text(dataset, portion);
        let dimensions = self.dimensions.iter().map(|(name, value)| {
            let value = match value {
                ScheduledDimension::Same(value) => value.clone(),
                ScheduledDimension::Text(pattern) => Dimension::Text(text(pattern)),
                ScheduledDimension::Number(placeholder) => match placeholder.number(portion) {
                    Some(number) => Dimension::Number(number),
                    None => Dimension::Text(placeholder.text(dataset, portion)),
                },
            };
            (name.clone(), value)
        });
        let retires = match (&self.portions, portion) {
            (Portions::Periods(periods), Portion::Period(period)) => periods.retires(period),
            _ => None,
        };
        PrivateDataBlock {
            metadata: ObjectMeta {
                namespace: Some(namespace.to_owned()),
                name: Some(text(&self.name)),
                labels: Some(BTreeMap::from([(LABEL_DATASET.to_owned(), dataset.to_owned())])),
                ..ObjectMeta::default()
            },
            spec: PrivateDataBlockSpec {
                dataset: dataset.to_owned(),
                data_source: self.data_source.as_ref().map(text),
                dimensions: dimensions.collect(),
                records: None,
                initial_budget: self.initial_budget.clone(),
                spent: self.spent.clone(),
                portion: Some(portion.spec()),
                retires: retires.map(moment),
            },
            status: None,
        }
    }
}

impl Portion {
    fn spec(&self) -> PortionSpec {
        match self {
            Self::Period(period) => PortionSpec {
                start: Some(moment(period.start)),
                end: Some(moment(period.end)),
                ..PortionSpec::default()
            },
            Self::Bucket(bucket) => PortionSpec {
                first_user: Some(bucket.first()),
                end_user: Some(bucket.end()),
                ..PortionSpec::default()
            },
        }
    }
}

impl ScheduledDimension {
    fn parse(value: &Dimension, kind: Kind, field: &str, is_text: bool) -> Result<Self, FieldError> {
        let Dimension::Text(text) = value else {
            return Ok(Self::Same(value.clone()));
        };
        let pattern = Pattern::parse(text, kind, field)?;
        Ok(match pattern.number().filter(|_| !is_text) {
            Some(placeholder) => Self::Number(placeholder),
            None => Self::Text(pattern),
        })
    }
}
