use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{PrivateDatasetSpec, parse_rfc3339};

fn dataset(blocks: &Value) -> PrivateDatasetSpec {
    let spec = json!({
        "policy": "DPF", "unlocking": {"arrivals": 10}, "composition": "Renyi",
        "guarantee": {"epsilon": 10, "delta": "1e-7"}, "blocks": blocks,
    });
    serde_json::from_value(spec).unwrap()
}

fn schedule(blocks: &Value) -> BlockSchedule {
    dataset(blocks).block_schedule().unwrap().unwrap()
}

fn at(text: &str) -> Time {
    parse_rfc3339(text).unwrap()
}

/// The names and beginnings of the blocks that are due.
fn due(schedule: &BlockSchedule, made_until: Option<&str>, now: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut made = until(made_until);
    for due in schedule.due("data", "taxi", made, at(now)) {
        let Portions::Periods(periods) = &schedule.portions else {
            panic!("not of periods");
        };
        let period = periods.next(made.until, at(now)).unwrap();
        assert_eq!(due.made.until, period.end);
        made = due.made;
        blocks.push((due.block.metadata.name.unwrap(), moment(period.start)));
    }
    blocks
}

fn until(made_until: Option<&str>) -> Made {
    Made {
        until: made_until.map(at).unwrap_or_default(),
        users: 0,
    }
}

fn pair(name: &str, start: &str) -> (String, String) {
    (name.to_owned(), start.to_owned())
}

#[test]
fn each_day_has_a_block_when_it_begins_or_as_long_before_as_is_stated() {
    let daily = schedule(&json!({"daily": {"from": "2026-11-28"}}));
    let first = pair("taxi-2026-11-28", "2026-11-28T00:00:00Z");
    let second = pair("taxi-2026-11-29", "2026-11-29T00:00:00Z");
    assert_eq!(due(&daily, None, "2026-11-27T23:59:59Z"), []);
    assert_eq!(
        due(&daily, None, "2026-11-28T00:00:00Z"),
        std::slice::from_ref(&first)
    );
    assert_eq!(
        due(&daily, None, "2026-11-29T10:00:00Z"),
        [first.clone(), second.clone()]
    );
    assert_eq!(
        due(&daily, Some("2026-11-29T00:00:00Z"), "2026-11-29T10:00:00Z"),
        std::slice::from_ref(&second)
    );
    assert_eq!(
        daily.next_due(until(Some("2026-11-29T00:00:00Z")), at("2026-11-28T10:00:00Z")),
        Some(at("2026-11-29T00:00:00Z"))
    );
    let ahead = schedule(&json!({"daily": {"from": "2026-11-28", "ahead": "24h"}}));
    assert_eq!(due(&ahead, None, "2026-11-28T00:00:00Z"), [first, second]);
}

#[test]
fn days_are_those_of_the_time_zone_however_long() {
    let berlin = schedule(&json!({"daily": {"from": "2026-10-24", "timeZone": "Europe/Berlin"}}));
    let starts: Vec<String> = due(&berlin, None, "2026-10-26T12:00:00Z")
        .into_iter()
        .map(|(_, start)| start)
        .collect();
    // Daylight saving ends on the 25th, which has 25 hours.
    assert_eq!(
        starts,
        [
            "2026-10-23T22:00:00Z",
            "2026-10-24T22:00:00Z",
            "2026-10-25T23:00:00Z"
        ]
    );
    // In 2018, it began at midnight in São Paulo: the 4th of November began at 01:00.
    let sao_paulo = schedule(&json!({"daily": {"from": "2018-11-03", "timeZone": "America/Sao_Paulo"}}));
    let starts: Vec<String> = due(&sao_paulo, None, "2018-11-05T12:00:00Z")
        .into_iter()
        .map(|(_, start)| start)
        .collect();
    assert_eq!(
        starts,
        [
            "2018-11-03T03:00:00Z",
            "2018-11-04T03:00:00Z",
            "2018-11-05T02:00:00Z"
        ]
    );
    // Samoa had no 30 December 2011.
    let apia = schedule(&json!({"daily": {"from": "2011-12-29", "timeZone": "Pacific/Apia"}}));
    let names: Vec<String> = due(&apia, None, "2011-12-31T12:00:00Z")
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["taxi-2011-12-29", "taxi-2011-12-31", "taxi-2012-01-01"]);
}

#[test]
fn hours_and_weeks_have_blocks() {
    let hourly = schedule(&json!({"hourly": {"from": "2026-11-30"}}));
    assert_eq!(
        due(&hourly, Some("2026-11-30T02:00:00Z"), "2026-11-30T03:59:00Z"),
        [
            pair("taxi-2026-11-30-02", "2026-11-30T02:00:00Z"),
            pair("taxi-2026-11-30-03", "2026-11-30T03:00:00Z"),
        ]
    );
    let weekly = schedule(&json!({"weekly": {"from": "2026-11-30", "name": "{dataset}-{week}"}}));
    assert_eq!(
        due(&weekly, None, "2026-12-08T00:00:00Z"),
        [
            pair("taxi-2026-w49", "2026-11-30T00:00:00Z"),
            pair("taxi-2026-w50", "2026-12-07T00:00:00Z"),
        ]
    );
}

#[test]
fn a_block_says_what_its_period_is_and_when_it_is_retired() {
    let daily = schedule(&json!({"daily": {
        "from": "2026-11-01", "timeZone": "Europe/Berlin", "name": "t-{epoch-day}", "lifetime": "90d",
        "dataSource": "s3://lake/{dataset}/{year}/{month}/{day}/{hour}/{week}",
        "dimensions": {"day": "{epoch-day}", "start": "{start}", "end": "{end}", "city": "nyc", "label": "day {date}", "level": 3},
        "initialBudget": {"epsilon": 5, "delta": "1e-7"},
    }}));
    let due = daily
        .due("data", "taxi", Made::default(), at("2026-11-01T00:00:00Z"))
        .next();
    let block = serde_json::to_value(due.unwrap().block).unwrap();
    assert_eq!(
        block,
        json!({
            "apiVersion": "privatekube.dev/v1alpha1", "kind": "PrivateDataBlock",
            "metadata": {"name": "t-20758", "namespace": "data", "labels": {"privatekube.dev/dataset": "taxi"}},
            "spec": {
                "dataset": "taxi", "dataSource": "s3://lake/taxi/2026/11/01/00/2026-w44",
                "dimensions": {
                    "day": 20758, "start": 1_793_487_600, "end": 1_793_574_000, "city": "nyc", "label": "day 2026-11-01",
                    "level": 3,
                },
                "initialBudget": {"epsilon": 5, "delta": "1e-7"},
                "portion": {"start": "2026-10-31T23:00:00Z", "end": "2026-11-01T23:00:00Z"},
                "retires": "2027-01-30T23:00:00Z",
            },
        })
    );
}

#[test]
fn a_dimension_that_is_declared_as_a_string_stays_one() {
    let mut spec = dataset(&json!({"daily": {"from": "2026-11-01", "dimensions": {"day": "{epoch-day}"}}}));
    spec.dimensions = serde_json::from_value(json!([{"name": "day", "type": "String"}])).unwrap();
    let block = spec
        .block_schedule()
        .unwrap()
        .unwrap()
        .first_block("taxi")
        .unwrap();
    assert_eq!(block.spec.dimensions["day"], Dimension::Text("20758".to_owned()));
}

#[test]
fn periods_whose_blocks_would_be_retired_get_none() {
    let daily = schedule(&json!({"daily": {"from": "2020-01-01", "lifetime": "48h"}}));
    let names: Vec<String> = due(&daily, None, "2026-11-30T12:00:00Z")
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["taxi-2026-11-28", "taxi-2026-11-29", "taxi-2026-11-30"]);
}

#[test]
fn a_changed_schedule_never_covers_a_time_that_had_a_block() {
    // The last day's block ends at the end of the 30th.
    let made_until = Some("2026-12-01T00:00:00Z");
    let hourly = schedule(&json!({"hourly": {"from": "2026-11-01", "ahead": "1h"}}));
    assert_eq!(due(&hourly, made_until, "2026-11-30T22:00:00Z"), []);
    assert_eq!(
        due(&hourly, made_until, "2026-11-30T23:00:00Z"),
        [pair("taxi-2026-12-01-00", "2026-12-01T00:00:00Z")]
    );
    // A week that began before isn't made.
    let weekly = schedule(&json!({"weekly": {"from": "2026-11-30"}}));
    assert_eq!(due(&weekly, made_until, "2026-12-06T00:00:00Z"), []);
}

#[test]
fn what_is_wrong_with_a_schedule_is_told_at_once() {
    let spec = dataset(&json!({"daily": {
        "from": "yesterday", "timeZone": "Mars/Olympus", "name": "taxi-{month}", "dataSource": "s3://{bucket}",
        "dimensions": {"day": "{epoch}"}, "ahead": "500d", "lifetime": "long",
    }}));
    let errors = spec.block_schedule().unwrap_err();
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.blocks.daily.from",
            "spec.blocks.daily.timeZone",
            "spec.blocks.daily.ahead",
            "spec.blocks.daily.lifetime",
            "spec.blocks.daily.name",
            "spec.blocks.daily.dataSource",
            "spec.blocks.daily.dimensions.day",
        ]
    );
    assert!(spec.check().is_err());
    let text = errors.to_string();
    assert!(text.contains("it needs {date}, {epoch-day} or {start}"), "{text}");
    for (blocks, said) in [
        (json!({}), "exactly one of hourly, daily, weekly and users"),
        (
            json!({"daily": {"from": "2026-11-01"}, "hourly": {"from": "2026-11-01"}}),
            "exactly one of",
        ),
        (
            json!({"hourly": {"from": "2026-11-01", "timeZone": "Europe/Berlin"}}),
            "hours are those of UTC",
        ),
        (
            json!({"hourly": {"from": "2026-11-01", "name": "{date}"}}),
            "{date} and {hour}",
        ),
    ] {
        let errors = dataset(&blocks).block_schedule().unwrap_err().to_string();
        assert!(errors.contains(said), "{errors}");
    }
}

#[test]
fn names_that_no_object_can_have_and_too_many_blocks_at_once_are_refused() {
    let now = at("2026-11-30T00:00:00Z");
    let named = schedule(&json!({"daily": {"from": "2026-11-01", "name": "Taxi_{date}"}}));
    let error = named.check("taxi", Made::default(), now).unwrap_err().to_string();
    assert!(
        error.contains("\"Taxi_2026-11-01\" would be the name of a block"),
        "{error}"
    );
    let many = schedule(&json!({"hourly": {"from": "2020-01-01"}}));
    let error = many.check("taxi", Made::default(), now).unwrap_err().to_string();
    assert!(error.contains("lets 606"), "{error}");
    // Only those that aren't retired yet would come.
    let few = schedule(&json!({"hourly": {"from": "2020-01-01", "lifetime": "30d"}}));
    assert_eq!(few.check("taxi", Made::default(), now), Ok(()));
    assert_eq!(
        schedule(&json!({"daily": {"from": "2026-11-01"}})).check("taxi", Made::default(), now),
        Ok(())
    );
}

fn any_schedule() -> impl Strategy<Value = Value> {
    let zones = prop::sample::select(vec![
        "UTC",
        "Europe/Berlin",
        "America/Sao_Paulo",
        "Pacific/Apia",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
        "Asia/Tehran",
    ]);
    let unit = prop::sample::select(vec!["hourly", "daily", "weekly"]);
    let lifetime = prop::option::of(1_u32..400);
    (unit, zones, 1_u32..400, lifetime, 2005_u32..2030, 1_u32..13).prop_map(
        |(unit, zone, ahead, lifetime, year, month)| {
            let mut periods = json!({"from": format!("{year}-{month:02}-05"), "ahead": format!("{ahead}h")});
            if unit != "hourly" {
                periods["timeZone"] = json!(zone);
            }
            if let Some(lifetime) = lifetime {
                periods["lifetime"] = json!(format!("{lifetime}h"));
            }
            json!({unit: periods})
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the moments at which somebody looks, and however often it is begun anew, the blocks cover the time
    /// without gaps that aren't retired, none twice, and each has a name of its own.
    #[test]
    fn each_period_gets_one_block(
        blocks in any_schedule(),
        looks in prop::collection::vec(0_u64..40 * 24 * 60, 1..12),
    ) {
        let schedule = schedule(&blocks);
        let Portions::Periods(periods) = &schedule.portions else {
            panic!("not of periods");
        };
        let begin = periods.period(0).unwrap().start.micros();
        let mut made: Vec<(String, Made)> = Vec::new();
        let mut now = Time::from_micros(begin);
        for minutes in looks {
            // Moments may also go back.
            let looked = Time::from_micros(begin + minutes * 60 * 1_000_000);
            now = now.max(looked);
            let until = made.last().map(|(_, made)| *made).unwrap_or_default();
            let due = schedule.due("data", "taxi", until, looked);
            let more: Vec<_> = due.map(|due| (due.block.metadata.name.unwrap(), due.made)).collect();
            prop_assert_eq!(more.is_empty(), schedule.next_due(until, looked).is_none_or(|due| due > looked));
            made.extend(more);
        }
        let names: BTreeSet<&String> = made.iter().map(|(name, _)| name).collect();
        prop_assert_eq!(names.len(), made.len());
        for pair in made.windows(2) {
            let (before, after) = (pair[0].1.until, pair[1].1.until);
            prop_assert!(before < after);
            if !blocks.to_string().contains("lifetime") {
                // No time between two blocks has none.
                prop_assert_eq!(periods.next(before, before).unwrap().end, after);
                prop_assert_eq!(periods.next(before, before).unwrap().start, before);
            }
        }
        for (name, _) in &made {
            prop_assert!(is_object_name(name), "{}", name);
        }
        let last = made.last().map_or(Time::from_micros(begin), |(_, made)| made.until);
        prop_assert!(periods.next(last, now).is_none_or(|next| periods.comes_at(&next) > now || next.end > last));
    }
}

fn users(count: u64) -> BlockSchedule {
    schedule(&json!({"users": {
        "bucketSize": 1000, "count": count, "dataSource": "s3://lake/{dataset}/{first-user}-{last-user}",
        "dimensions": {"bucket": "{bucket}", "last": "{last-user}"},
        "counted": {"budget": {"mechanism": "17*laplace(scale=100)"}, "reason": "the count of users"},
    }}))
}

#[test]
fn each_full_bucket_of_users_has_a_block_that_has_paid_for_the_count() {
    let now = at("2026-11-30T00:00:00Z");
    let made = |users| Made {
        users,
        ..Made::default()
    };
    assert_eq!(users(999).due("data", "taxi", Made::default(), now).next(), None);
    let due: Vec<DueBlock> = users(2999).due("data", "taxi", Made::default(), now).collect();
    let names: Vec<&str> = due
        .iter()
        .filter_map(|due| due.block.metadata.name.as_deref())
        .collect();
    assert_eq!(names, ["taxi-users-0", "taxi-users-1"]);
    assert_eq!(due[1].made, made(2000));
    let spec = serde_json::to_value(&due[1].block.spec).unwrap();
    assert_eq!(
        spec,
        json!({
            "dataset": "taxi", "dataSource": "s3://lake/taxi/1000-1999", "dimensions": {"bucket": 1, "last": 1999},
            "spent": {"budget": {"mechanism": "17*laplace(scale=100)"}, "reason": "the count of users"},
            "portion": {"firstUser": 1000, "endUser": 2000},
        })
    );
    assert_eq!(users(2999).next_due(made(2000), now), None);
    assert_eq!(users(3000).next_due(made(2000), now), Some(now));
    let last = due[1].made.last_block("taxi-users-1".to_owned());
    assert_eq!(Made::of(Some(&last)), made(2000));
}

#[test]
fn what_is_divided_by_time_is_not_divided_by_users_too() {
    let now = at("2026-11-30T00:00:00Z");
    let daily = schedule(&json!({"daily": {"from": "2026-11-01"}}));
    let first = daily.due("data", "taxi", Made::default(), now).next().unwrap();
    assert_eq!(Made::with_block(&first.block), first.made);
    assert_eq!(users(5000).due("data", "taxi", first.made, now).next(), None);
    assert_eq!(users(5000).next_due(first.made, now), None);
    let error = users(5000)
        .check("taxi", first.made, now)
        .unwrap_err()
        .to_string();
    assert!(error.contains("divided in the other way already"), "{error}");
    let of_users = users(5000)
        .due("data", "taxi", Made::default(), now)
        .last()
        .unwrap();
    assert_eq!(Made::with_block(&of_users.block), of_users.made);
    assert_eq!(daily.due("data", "taxi", of_users.made, now).next(), None);
    // A privacy unit that the blocks don't fit is told.
    let unit = |schedule: &BlockSchedule, unit| schedule.warning(Some(unit)).is_some();
    assert!(unit(&daily, PrivacyUnit::User) && unit(&users(1), PrivacyUnit::Event));
    assert!(!unit(&daily, PrivacyUnit::UserTime) && !unit(&users(1), PrivacyUnit::User));
}

#[test]
fn what_is_wrong_with_buckets_of_users_is_told() {
    for (spec, said) in [
        (json!({"bucketSize": 0}), "bucketSize: 0 is out of range"),
        (json!({"bucketSize": 10, "name": "taxi"}), "it needs {bucket}"),
        (
            json!({"bucketSize": 10, "dataSource": "{date}"}),
            "write one of {dataset}, {bucket}, {first-user}, {last-user}",
        ),
    ] {
        let error = dataset(&json!({"users": spec}))
            .block_schedule()
            .unwrap_err()
            .to_string();
        assert!(error.contains(said), "{error}");
    }
    let now = at("2026-11-30T00:00:00Z");
    let error = users(10_001_000)
        .check("taxi", Made::default(), now)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("spec.blocks.users.count: lets 10001 blocks come at once"),
        "{error}"
    );
}
