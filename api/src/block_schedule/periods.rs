//! Periods: the hours of UTC, or the days or weeks of a time zone.

use std::collections::BTreeMap;

use jiff::{
    Timestamp, ToSpan as _,
    civil::{Date, DateTime, time},
    tz::TimeZone,
};
use kube::KubeSchema;
use privatekube_policy::{Span, Time};
use serde::{Deserialize, Serialize};

use super::pattern::{Pattern, Placeholder};
use crate::{BudgetAmount, Dimension, Duration, FieldError, FieldErrors, request::keep};

/// The longest time by which a block may come before its period: a year.
const LONGEST_AHEAD: Span = Span::from_secs(366 * 86_400);
const MICROS: u64 = 1_000_000;

/// The blocks of periods. Texts may have placeholders for the beginning of a block's period, in the time zone: {date}
/// (2026-11-30), {year}, {month}, {day}, {hour} (two digits each, but the year), {week} (2026-w49, by ISO 8601), {epoch-day} (days
/// since 1970), {start} and {end} (of the period, in seconds since 1970); and {dataset}.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeriodicBlocks {
    /// The day of the first period. Periods that are over get blocks, too, at most 10000. Example: "2026-11-01".
    #[schemars(length(min = 10, max = 10))]
    pub from: String,
    /// The time zone of the periods, by its name in the IANA database. If absent: UTC, which is the only one for hours.
    /// Example: Europe/Berlin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// The name of each block, different for each period. If absent: {dataset}-{date}, of hours {dataset}-{date}-{hour}.
    /// Example: taxi-{date}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 253))]
    pub name: Option<String>,
    /// Where the data of each block is. Example: s3://lake/taxi/{date}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 2048))]
    pub data_source: Option<String>,
    /// The dimensions of each block. A value that is {epoch-day}, {start} or {end} and nothing else becomes an integer,
    /// unless the dataset declares the dimension as a String. Example: {day: "{epoch-day}", city: nyc}.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub dimensions: BTreeMap<String, Dimension>,
    /// How long before its period begins a block comes, as numbers with units ms, s, m, h or d. If absent: it comes when the
    /// period begins. Example: 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Duration")]
    pub ahead: Option<Duration>,
    /// How long after the end of its period a block is retired: nothing more is granted on it. If absent: never. Example: 90d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Duration")]
    pub lifetime: Option<Duration>,
    /// The budget of each block. If absent: the guarantee of the dataset. Example: {epsilon: 10, delta: "1e-7"}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BudgetAmount")]
    pub initial_budget: Option<BudgetAmount>,
}

/// The length of periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Hour,
    Day,
    Week,
}

/// Periods, parsed.
#[derive(Clone, Debug)]
pub(super) struct PeriodSchedule {
    unit: Unit,
    /// The day of the first period.
    from: Date,
    zone: TimeZone,
    ahead: Span,
    lifetime: Option<Span>,
}

/// A period: the moments from `start` on that are before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period {
    /// Its beginning.
    pub(super) start: Time,
    /// Its end, which is the beginning of the next one.
    pub(super) end: Time,
    local: DateTime,
}

impl Unit {
    pub(super) const fn default_name(self) -> &'static str {
        match self {
            Self::Hour => "{dataset}-{date}-{hour}",
            Self::Day | Self::Week => "{dataset}-{date}",
        }
    }

    /// Whether a name is that of one period only; if not, returns what it needs.
    pub(super) fn tells_apart(self, name: &Pattern) -> Result<(), &'static str> {
        use Placeholder::{Date, Day, End, EpochDay, Hour, Month, Start, Week, Year};
        let has = |all: &[Placeholder]| all.iter().all(|placeholder| name.has(*placeholder));
        let has_day = has(&[Date]) || has(&[EpochDay]) || has(&[Year, Month, Day]);
        let (is_enough, needed) = match self {
            Self::Hour => (has_day && has(&[Hour]), "{date} and {hour}, or {start}"),
            Self::Day => (has_day, "{date}, {epoch-day} or {start}"),
            Self::Week => (has_day || has(&[Week]), "{week}, {date} or {start}"),
        };
        if is_enough || has(&[Start]) || has(&[End]) {
            Ok(())
        } else {
            Err(needed)
        }
    }

    /// Seconds of most periods.
    const fn seconds(self) -> u64 {
        match self {
            Self::Hour => 3600,
            Self::Day => 86_400,
            Self::Week => 7 * 86_400,
        }
    }
}

impl PeriodSchedule {
    pub(super) fn parse(unit: Unit, field: &str, spec: &PeriodicBlocks) -> Result<Self, FieldErrors> {
        let mut errors = Vec::new();
        let from = spec.from.parse::<Date>().map_err(|_| {
            FieldError::new(
                format!("{field}.from"),
                format_args!("{:?} is not a day: write one like 2026-11-01", spec.from),
            )
        });
        let from = keep(from, &mut errors);
        let zone = keep(time_zone(unit, field, spec.time_zone.as_deref()), &mut errors);
        let span = |duration: &Option<Duration>, name: &str| {
            let parsed = duration
                .as_ref()
                .map(|duration| duration.span(&format!("{field}.{name}")));
            parsed.transpose()
        };
        let ahead = keep(span(&spec.ahead, "ahead"), &mut errors)
            .flatten()
            .unwrap_or_default();
        if ahead > LONGEST_AHEAD {
            errors.push(FieldError::new(
                format!("{field}.ahead"),
                format_args!("{ahead} is too long: write at most {LONGEST_AHEAD}"),
            ));
        }
        let lifetime = keep(span(&spec.lifetime, "lifetime"), &mut errors).flatten();
        let schedule = from.zip(zone).map(|(from, zone)| Self {
            unit,
            from,
            zone,
            ahead,
            lifetime,
        });
        FieldErrors::unless_empty(errors, schedule)
    }

    /// How many blocks come at once after one that ends at `made_until`. Counts by the length of most periods, which is off by
    /// one at most.
    pub(super) fn count(&self, made_until: Time, now: Time) -> u64 {
        let Some(first) = self.next(made_until, now) else {
            return 0;
        };
        let until = now.after(self.ahead).micros();
        let since = until.checked_sub(first.start.micros());
        since.map_or(0, |micros| micros / MICROS / self.unit.seconds() + 1)
    }

    /// The first period that begins at `made_until` or later and whose block isn't retired `now`.
    pub(super) fn next(&self, made_until: Time, now: Time) -> Option<Period> {
        let mut period = self.period_from(self.oldest_wanted(now).max(made_until))?;
        // Those that are over for longer than they live.
        while self.retires(&period).is_some_and(|retires| retires <= now) {
            period = self.period_from(period.end)?;
        }
        Some(period)
    }

    /// A moment before which no period begins whose block isn't retired `now`.
    fn oldest_wanted(&self, now: Time) -> Time {
        let longest = match self.unit {
            Unit::Hour => 3600,
            // A day has 25 hours at most where daylight saving ends, and two more are left for stranger zones.
            Unit::Day => 27 * 3600,
            Unit::Week => 8 * 86_400,
        };
        self.lifetime.map_or(Time::default(), |lifetime| {
            let back = lifetime.micros().saturating_add(longest * MICROS);
            Time::from_micros(now.micros().saturating_sub(back))
        })
    }

    /// When the block of a period comes.
    pub(super) fn comes_at(&self, period: &Period) -> Time {
        Time::from_micros(period.start.micros().saturating_sub(self.ahead.micros()))
    }

    /// When the block of a period is retired; none if never.
    pub(super) fn retires(&self, period: &Period) -> Option<Time> {
        self.lifetime.map(|lifetime| period.end.after(lifetime))
    }

    /// The first period that begins at `at` or later.
    fn period_from(&self, at: Time) -> Option<Period> {
        let from = self.period_start(0)?.1;
        let mut number = if at <= from {
            0
        } else {
            let local = self.zone.to_datetime(timestamp(at)?);
            let days = i64::from((local.date() - self.from).get_days());
            match self.unit {
                Unit::Hour => i64::try_from((at.micros() - from.micros()) / (3600 * MICROS)).ok()?,
                Unit::Day => days,
                Unit::Week => days / 7,
            }
        };
        // Of a day that a time zone leaves out nothing is left, and the next one is looked at.
        loop {
            let period = self.period(number)?;
            if period.start >= at && period.start < period.end {
                return Some(period);
            }
            number += 1;
        }
    }

    pub(super) fn period(&self, number: i64) -> Option<Period> {
        let (local, start) = self.period_start(number)?;
        let (_, end) = self.period_start(number + 1)?;
        Some(Period { start, end, local })
    }

    /// The beginning of a period in the time zone, and as a moment; none beyond the times that can be counted.
    fn period_start(&self, number: i64) -> Option<(DateTime, Time)> {
        let midnight = time(0, 0, 0, 0);
        let local = match self.unit {
            Unit::Hour => self.from.to_datetime(midnight).checked_add(number.hours()).ok()?,
            Unit::Day => self.from.checked_add(number.days()).ok()?.to_datetime(midnight),
            Unit::Week => self
                .from
                .checked_add(number.checked_mul(7)?.days())
                .ok()?
                .to_datetime(midnight),
        };
        // Where daylight saving leaves midnight out, the day begins with the first moment after it.
        let moment = self.zone.to_ambiguous_timestamp(local).compatible().ok()?;
        let micros = u64::try_from(moment.as_microsecond()).ok()?;
        Some((local, Time::from_micros(micros)))
    }
}

impl Period {
    /// Its beginning in the time zone.
    pub(super) const fn local(&self) -> DateTime {
        self.local
    }
}

fn time_zone(unit: Unit, field: &str, name: Option<&str>) -> Result<TimeZone, FieldError> {
    let field = format!("{field}.timeZone");
    match name {
        None | Some("UTC") => Ok(TimeZone::UTC),
        Some(name) if unit == Unit::Hour => Err(FieldError::new(
            field,
            format_args!("{name:?}: hours are those of UTC, because others have two hours of one name a year: leave it out"),
        )),
        // What the machine is set to, or knows beside the database.
        Some(name @ ("localtime" | "posixrules" | "Factory")) => Err(FieldError::new(
            field,
            format_args!("{name:?} is not a place: write a name of the IANA database, like Europe/Berlin, or UTC"),
        )),
        Some(name) => TimeZone::get(name).map_err(|_| {
            FieldError::new(
                field,
                format_args!("{name:?} is not a time zone: write a name of the IANA database, like Europe/Berlin, or UTC"),
            )
        }),
    }
}

fn timestamp(time: Time) -> Option<Timestamp> {
    Timestamp::from_microsecond(i64::try_from(time.micros()).ok()?).ok()
}
