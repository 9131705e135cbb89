//! Stories as text: commands, and under them what came of it. See `scenarios/README.md`.
//!
//! `UPDATE_SCENARIOS=1 cargo test -p privatekube-policy --test scenarios` writes the outcomes anew.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use privatekube_policy::{
    Amount, Arrival, BlockId, Budget, ClaimId, Composition, Demand, Denial, Engine, Epsilon, Event,
    Mechanism, Order, Orders, Policy, Record, Setting, Span, Time, Unlocking, Unlocks, Weight,
};

struct Story {
    engine: Engine,
}

/// A command's `key=value` words.
struct Words<'a> {
    line: &'a str,
    values: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn new(line: &'a str, words: &[&'a str]) -> Self {
        let pair = |word: &&'a str| word.split_once('=').unwrap_or_else(|| panic!("{line}"));
        Self {
            line,
            values: words.iter().map(pair).collect(),
        }
    }

    fn take(&mut self, key: &str) -> Option<&'a str> {
        self.values.remove(key)
    }

    fn finish(self) {
        assert!(self.values.is_empty(), "{}: {:?}", self.line, self.values);
    }
}

impl Story {
    /// `setting arrivals=4` or `setting lifetime=40s tick=10s` or `setting immediate`, and `orders=2,4` and
    /// `policy=fcfs`.
    fn new(line: &str) -> Self {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], "setting", "a scenario starts with its setting");
        let immediate = words.contains(&"immediate");
        let rest: Vec<&str> = words[1..]
            .iter()
            .copied()
            .filter(|word| *word != "immediate")
            .collect();
        let mut words = Words::new(line, &rest);
        let unlocking = match (words.take("arrivals"), words.take("lifetime"), immediate) {
            (Some(arrivals), None, false) => Unlocking::Arrivals(arrivals.parse().unwrap()),
            (None, Some(lifetime), false) => Unlocking::Lifetime {
                lifetime: lifetime.parse().unwrap(),
                tick: words.take("tick").unwrap().parse().unwrap(),
            },
            (None, None, true) => Unlocking::Immediate,
            _ => panic!("{line}"),
        };
        let composition = words.take("orders").map_or(Composition::Basic, |orders| {
            let orders = orders.split(',').map(|order| order.parse().unwrap());
            Composition::Renyi(Orders::new(orders.collect()).unwrap())
        });
        let recompute_after = words
            .take("recompute-after")
            .map_or(1, |after| after.parse().unwrap());
        let policy = match words.take("policy").unwrap_or("dpf") {
            "dpf" => Policy::Dpf,
            "fcfs" => Policy::Fcfs { refusing: false },
            "fcfs-refusing" => Policy::Fcfs { refusing: true },
            "round-robin" => Policy::RoundRobin,
            "dpack" => Policy::Dpack { recompute_after },
            "blend" => Policy::Blend {
                fairness: words.take("fairness").unwrap().parse().unwrap(),
                recompute_after,
            },
            other => panic!("{other}"),
        };
        words.finish();
        let engine = Engine::new(Setting {
            policy,
            unlocking,
            composition,
        });
        Self {
            engine: engine.unwrap(),
        }
    }

    fn composition(&self) -> &Composition {
        &self.engine.setting().composition
    }

    fn run(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["tick", span] => {
                let now = self.engine.now().after(span.parse::<Span>().unwrap());
                let records = self.engine.advance(now);
                self.tell(&records)
            }
            ["books", block] => self.books(block),
            ["explain", claim] => format!("{}\n", self.why(&claim.into())),
            ["place", claim] => self.place(&claim.into()),
            ["would", verb, name, ref rest @ ..] => {
                let event = self.event(verb, name, Words::new(line, rest));
                let outlook = self.engine.would(&event);
                outlook.map_or_else(
                    |refusal| format!("refused: {refusal}\n"),
                    |outlook| format!("{:?}\n", outlook.records.iter().map(kind).collect::<Vec<_>>()),
                )
            }
            [verb, name, ref rest @ ..] => {
                let event = self.event(verb, name, Words::new(line, rest));
                match self.engine.apply(&event) {
                    Ok(records) if records.is_empty() => "nothing to do\n".to_owned(),
                    Ok(records) => self.tell(&records),
                    Err(refusal) => format!("refused: {refusal}\n"),
                }
            }
            _ => panic!("{line}"),
        }
    }

    fn event(&self, verb: &str, name: &str, mut words: Words<'_>) -> Event {
        let event = match verb {
            "block" => Event::AddBlock {
                block: name.into(),
                capacity: self.capacity(&mut words),
            },
            "retire" => Event::RetireBlock { block: name.into() },
            "claim" => Event::Arrive(Arrival {
                claim: name.into(),
                min_blocks: words.take("min").map_or(1, |min| min.parse().unwrap()),
                timeout: words.take("timeout").map(|timeout| timeout.parse().unwrap()),
                priority: words
                    .take("priority")
                    .map_or(0, |priority| priority.parse().unwrap()),
                weight: words.take("weight").map_or_else(Weight::default, |weight| {
                    Weight::new(weight.parse().unwrap()).unwrap()
                }),
                demands: self.demands(&mut words),
            }),
            "match" => Event::Match {
                claim: name.into(),
                demands: self.demands(&mut words),
            },
            "consume" => Event::Consume {
                claim: name.into(),
                amount: self.amount(&mut words),
            },
            "release" => Event::Release {
                claim: name.into(),
                amount: self.amount(&mut words),
            },
            "withdraw" => Event::Withdraw { claim: name.into() },
            "never-ran" => Event::NeverRan { claim: name.into() },
            _ => panic!("{}", words.line),
        };
        words.finish();
        event
    }

    fn capacity(&self, words: &mut Words<'_>) -> Budget {
        if let Some(curve) = words.take("curve") {
            return self.composition().capacity_curve(&parse_curve(curve)).unwrap();
        }
        let epsilon = words.take("epsilon").unwrap().parse().unwrap();
        let delta = words.take("delta").unwrap_or("0").parse().unwrap();
        self.composition().capacity(epsilon, delta).unwrap()
    }

    /// `epsilon=1 delta=1e-9 blocks=b1,b2`, `mechanism=... blocks=b1`, `curve=2:0.5,4:1 blocks=b1`,
    /// `each=b1:0.5,b2:1.5` (epsilons), `each-curve=b1/2:0.5,4:1;b2/2:1,4:2`, or nothing.
    fn demands(&self, words: &mut Words<'_>) -> Vec<Demand> {
        let composition = self.composition();
        let epsilon_of = |epsilon: &str, delta: &str| {
            let amounts = (epsilon.parse().unwrap(), delta.parse().unwrap());
            match composition {
                Composition::Basic => composition.capacity(amounts.0, amounts.1).unwrap(),
                Composition::Renyi(_) => {
                    let mechanism = Mechanism::for_guarantee(amounts.0, amounts.1).unwrap();
                    mechanism.demand(composition).unwrap()
                }
            }
        };
        let curve_of = |curve: &str| composition.demand_curve(&parse_curve(curve)).unwrap();
        if let Some(each) = words.take("each") {
            let demand = |(block, epsilon): (&str, &str)| Demand {
                blocks: vec![block.into()],
                budget: epsilon_of(epsilon, "0"),
            };
            return each
                .split(',')
                .map(|pair| demand(pair.split_once(':').unwrap()))
                .collect();
        }
        if let Some(each) = words.take("each-curve") {
            let demand = |(block, curve): (&str, &str)| Demand {
                blocks: vec![block.into()],
                budget: curve_of(curve),
            };
            return each
                .split(';')
                .map(|pair| demand(pair.split_once('/').unwrap()))
                .collect();
        }
        let budget = if let Some(mechanism) = words.take("mechanism") {
            mechanism
                .parse::<Mechanism>()
                .unwrap()
                .demand(composition)
                .unwrap()
        } else if let Some(curve) = words.take("curve") {
            curve_of(curve)
        } else if let Some(epsilon) = words.take("epsilon") {
            epsilon_of(epsilon, words.take("delta").unwrap_or("0"))
        } else {
            return Vec::new();
        };
        let blocks = words
            .take("blocks")
            .unwrap_or_default()
            .split(',')
            .filter(|block| !block.is_empty());
        let blocks = blocks.map(Into::into).collect();
        vec![Demand { blocks, budget }]
    }

    fn amount(&self, words: &mut Words<'_>) -> Amount {
        let demands = self.demands(words);
        if demands.is_empty() {
            Amount::All
        } else {
            Amount::InAll(demands)
        }
    }

    fn tell(&self, records: &[Record]) -> String {
        let part = |entirely: &bool| if *entirely { "" } else { " in part" };
        let mut told = String::new();
        for record in records {
            let line = match record {
                Record::BlockAdded { block } => format!("{block}: added"),
                Record::BlockRetired { block } => format!("{block}: retired"),
                Record::Unlocked { blocks } => {
                    let names: Vec<&str> = blocks.iter().map(BlockId::as_str).collect();
                    format!("{}: unlocked a step", names.join(", "))
                }
                Record::Waits { claim } => format!("{claim}: waits: {}", self.why(claim)),
                Record::Granted { claim, at } => format!("{claim}: granted at {}", seconds(*at)),
                Record::Denied { claim, reason, at } => {
                    format!("{claim}: denied at {}: {}", seconds(*at), self.denial(reason))
                }
                Record::Expired { claim, at } => format!("{claim}: expired at {}", seconds(*at)),
                Record::Withdrawn { claim } => format!("{claim}: withdrawn"),
                Record::Consumed { claim, entirely } => format!("{claim}: consumed{}", part(entirely)),
                Record::Released { claim, entirely } => format!("{claim}: released{}", part(entirely)),
            };
            writeln!(told, "{line}").unwrap();
        }
        if told.is_empty() {
            "nothing\n".to_owned()
        } else {
            told
        }
    }

    fn denial(&self, reason: &Denial) -> String {
        match reason {
            Denial::TooLarge {
                block,
                coordinate,
                asked,
                left,
            } => {
                let at = *coordinate as usize;
                let show = |units: i64| self.composition().display_units(at, units.into());
                let name = self.composition().coordinate_name(at);
                format!(
                    "asks {} {name} of {block}, which has {} left",
                    show(*asked),
                    show(*left)
                )
            }
            Denial::BlockRetired { block } => format!("{block} is retired"),
            Denial::DoesNotFit {
                block,
                coordinate,
                asked,
                unlocked,
            } => {
                let at = *coordinate as usize;
                let show = |units: i64| self.composition().display_units(at, units.into());
                let name = self.composition().coordinate_name(at);
                format!(
                    "asks {} {name} of {block}, which has {} unlocked",
                    show(*asked),
                    show(*unlocked)
                )
            }
            Denial::DividedUp { block } => format!("{block} is divided up"),
        }
    }

    fn why(&self, claim: &ClaimId) -> String {
        let Some(why) = self.engine.explain(claim) else {
            return "does not wait".to_owned();
        };
        let mut reasons = Vec::new();
        if let Some((matched, needed)) = why.unmatched {
            reasons.push(format!("matches {matched} of {needed} blocks"));
        }
        for lack in why.lacks {
            let show = |units: i128| self.composition().display_units(lack.coordinate, units);
            let unlocks = match lack.unlocks {
                Unlocks::Arrivals(1) => "1 more arrival would do".to_owned(),
                Unlocks::Arrivals(more) => format!("{more} more arrivals would do"),
                Unlocks::At(time) => format!("at {} the clock will have unlocked it", seconds(time)),
                Unlocks::OnlyReturned => "others hold it".to_owned(),
            };
            let name = self.composition().coordinate_name(lack.coordinate);
            reasons.push(format!(
                "{} lacks {} {name} ({unlocks})",
                lack.block,
                show(lack.missing)
            ));
        }
        if let Some(expires) = why.expires {
            reasons.push(format!("expires at {}", seconds(expires)));
        }
        reasons.join("; ")
    }

    fn place(&self, claim: &ClaimId) -> String {
        let Some(standing) = self.engine.standing(claim) else {
            return "does not wait\n".to_owned();
        };
        let mut told = standing.ahead.map_or_else(
            || "there is no order\n".to_owned(),
            |ahead| format!("{ahead} go before it\n"),
        );
        for need in standing.needs {
            let show = |units: i128| self.composition().display_units(need.coordinate, units);
            writeln!(
                told,
                "{} has {} of {} {}, {} is locked",
                need.block,
                show(need.unlocked),
                show(need.asked.into()),
                self.composition().coordinate_name(need.coordinate),
                show(need.locked)
            )
            .unwrap();
        }
        told
    }

    fn books(&self, block: &str) -> String {
        let books = self.engine.block(&block.into()).unwrap();
        let mut told = String::new();
        for at in 0..books.capacity.units().len() {
            let show = |units: i128| self.composition().display_units(at, units);
            writeln!(
                told,
                "{}: {} = locked {} + unlocked {} + allocated {} + consumed {}",
                self.composition().coordinate_name(at),
                show(books.capacity.units()[at].into()),
                show(books.locked[at]),
                show(books.unlocked[at]),
                show(books.allocated[at]),
                show(books.consumed[at]),
            )
            .unwrap();
        }
        told
    }
}

/// A record without its fields.
fn kind(record: &Record) -> &'static str {
    match record {
        Record::BlockAdded { .. } => "block added",
        Record::BlockRetired { .. } => "block retired",
        Record::Unlocked { .. } => "unlocked",
        Record::Waits { .. } => "waits",
        Record::Granted { .. } => "granted",
        Record::Denied { .. } => "denied",
        Record::Expired { .. } => "expired",
        Record::Withdrawn { .. } => "withdrawn",
        Record::Consumed { .. } => "consumed",
        Record::Released { .. } => "released",
    }
}

fn seconds(time: Time) -> String {
    Span::from_micros(time.micros()).to_string()
}

fn parse_curve(text: &str) -> Vec<(Order, Epsilon)> {
    let point = |(order, epsilon): (&str, &str)| (order.parse().unwrap(), epsilon.parse().unwrap());
    text.split(',')
        .map(|pair| point(pair.split_once(':').unwrap()))
        .collect()
}

/// The text with its outcomes as they are.
fn replay(text: &str) -> String {
    let mut story: Option<Story> = None;
    let mut told = String::new();
    // Lines with an outcome are indented.
    for line in text.lines().filter(|line| !line.starts_with("    ")) {
        writeln!(told, "{line}").unwrap();
        let command = line.trim();
        if command.is_empty() || command.starts_with('#') {
            continue;
        }
        if let Some(story) = &mut story {
            for outcome in story.run(command).lines() {
                writeln!(told, "    {outcome}").unwrap();
            }
        } else {
            story = Some(Story::new(command));
        }
    }
    told
}

#[test]
fn scenarios_come_out_as_they_are_written() {
    let update = std::env::var_os("UPDATE_SCENARIOS").is_some_and(|value| value == "1");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let told = replay(&text);
        if update {
            fs::write(&path, told).unwrap();
        } else {
            assert_eq!(told, text, "{}", path.display());
        }
        count += 1;
    }
    assert!(count >= 10, "{count}");
}
