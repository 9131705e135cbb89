//! A scenario: commands as text, which are applied to an engine. `scenarios/README.md` documents the
//! commands.

mod ends;
mod outcome;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use outcome::kind;
use privatekube_policy::{
    Amount, Arrival, Budget, Composition, DatasetRules, Demand, Engine, Epsilon, Event, Mechanism, Order,
    Orders, Policy, Record, Revision, Span, Unlocking, Weight,
};

pub(crate) struct Story {
    engine: Engine,
    happened: Vec<Happened>,
}

/// A command that changed the engine.
pub(crate) struct Happened {
    pub(crate) verb: String,
    /// The block or claim that the command names.
    pub(crate) name: String,
    pub(crate) records: Vec<Record>,
}

/// The `key=value` words of a command.
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
    /// `policy=fcfs` and `revision=1`.
    fn new(line: &str) -> Self {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], "setting", "a scenario starts with its rules");
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
        let revision = words.take("revision").map_or(Revision::CURRENT, |number| {
            let number: u32 = number.parse().unwrap();
            number.try_into().unwrap()
        });
        words.finish();
        let engine = Engine::new(DatasetRules {
            policy,
            unlocking,
            composition,
            revision,
        });
        Self {
            engine: engine.unwrap(),
            happened: Vec::new(),
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// All commands that changed the engine, in order.
    pub(crate) fn happened(&self) -> &[Happened] {
        &self.happened
    }

    fn composition(&self) -> &Composition {
        &self.engine.rules().composition
    }

    fn run(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["tick", span] => {
                let now = self.engine.now().after(span.parse::<Span>().unwrap());
                let records = self.engine.advance(now);
                let text = self.outcome(&records);
                self.note("tick", span, records);
                text
            }
            ["books", block] => self.block(block),
            ["explain", claim] => format!("{}\n", self.explanation(&claim.into())),
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
                    Ok(_) if verb == "forget" => self.folded(),
                    Ok(records) if records.is_empty() => "nothing to do\n".to_owned(),
                    Ok(records) => {
                        let text = self.outcome(&records);
                        self.note(verb, name, records);
                        text
                    }
                    Err(refusal) => format!("refused: {refusal}\n"),
                }
            }
            _ => panic!("{line}"),
        }
    }

    fn note(&mut self, verb: &str, name: &str, records: Vec<Record>) {
        let (verb, name) = (verb.to_owned(), name.to_owned());
        self.happened.push(Happened { verb, name, records });
    }

    fn event(&self, verb: &str, name: &str, mut words: Words<'_>) -> Event {
        let event = match verb {
            "block" => Event::AddBlock {
                block: name.into(),
                capacity: self.capacity(&mut words),
            },
            "retire" => Event::RetireBlock { block: name.into() },
            "write-off" => Event::WriteOff {
                after: name.parse().unwrap(),
                unknown_blocks: words.take("unknown").map(Into::into).into_iter().collect(),
                reason: "entries were lost".to_owned(),
            },
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
            "forget" => Event::Forget {
                claims: name.split(',').map(Into::into).collect(),
                of: words.take("of").map(str::to_owned),
            },
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
}

fn parse_curve(text: &str) -> Vec<(Order, Epsilon)> {
    let point = |(order, epsilon): (&str, &str)| (order.parse().unwrap(), epsilon.parse().unwrap());
    text.split(',')
        .map(|pair| point(pair.split_once(':').unwrap()))
        .collect()
}

/// Replays a scenario. Returns its text with the outcomes that it has now, and its state at the end.
pub(crate) fn replay(text: &str) -> (String, Story) {
    let mut story: Option<Story> = None;
    let mut replayed = String::new();
    // Lines with an outcome are indented.
    for line in text.lines().filter(|line| !line.starts_with("    ")) {
        writeln!(replayed, "{line}").unwrap();
        let command = line.trim();
        if command.is_empty() || command.starts_with('#') {
            continue;
        }
        if let Some(story) = &mut story {
            for outcome in story.run(command).lines() {
                writeln!(replayed, "    {outcome}").unwrap();
            }
        } else {
            story = Some(Story::new(command));
        }
    }
    (replayed, story.unwrap())
}

/// The folder of the scenarios.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

/// The path and text of each scenario, by name, as they are before any test writes outcomes.
pub(crate) fn all() -> &'static BTreeMap<PathBuf, String> {
    static STORIES: LazyLock<BTreeMap<PathBuf, String>> = LazyLock::new(|| {
        let entries = fs::read_dir(folder()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let stories = paths.filter(|path| path.extension().is_some_and(|extension| extension == "txt"));
        let read = |path: PathBuf| (path.clone(), fs::read_to_string(path).unwrap());
        stories.map(read).collect()
    });
    &STORIES
}

/// Whether outcomes are to be written, and not compared.
pub(crate) fn updating() -> bool {
    std::env::var_os("UPDATE_SCENARIOS").is_some_and(|value| value == "1")
}
