//! Declarations of metrics: each is registered and described in one place, from which its page in the docs is made.

use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::Collector,
};

/// A label's name, and its values: all of them, or what they are.
pub type Label = (&'static str, &'static str);

/// The labels of what a dataset has.
pub const DATASET: [Label; 2] = [
    ("namespace", "the dataset's namespace"),
    ("dataset", "the dataset's name"),
];

/// The prefix of all names but those of the process.
const PREFIX: &str = "privatekube_";

/// What a metric counts or measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, from 0 at the start of the process.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts of observations, by size.
    Histogram,
}

impl Kind {
    /// As Prometheus' text format has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Debug)]
pub struct Declaration {
    /// The part of the extender that measures it.
    pub room: &'static str,
    /// Its whole name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// What it says.
    pub help: String,
    /// Its labels.
    pub labels: Vec<Label>,
}

impl Declaration {
    /// Its unit, which its name ends with, before `_total`; `None` if it counts things.
    pub fn unit(&self) -> Option<&'static str> {
        let name = self.name.strip_suffix("_total").unwrap_or(&self.name);
        ["seconds", "bytes", "ratio", "epsilon", "delta"]
            .into_iter()
            .find(|unit| name.rsplit('_').next() == Some(unit))
    }
}

/// Declares the metrics of the rooms, each with its help and labels.
#[derive(Debug)]
pub struct Declarations {
    registry: Registry,
    room: &'static str,
    declared: Vec<Declaration>,
}

impl Declarations {
    /// Nothing is declared yet.
    pub fn new() -> Self {
        Self {
            registry: Registry::new(),
            room: "",
            declared: Vec::new(),
        }
    }

    /// Begins a room: what is declared from now on is measured by it.
    pub const fn room(&mut self, room: &'static str) {
        self.room = room;
    }

    /// A counter.
    pub fn counter(
        &mut self,
        name: &str,
        help: &str,
        labels: &[Label],
    ) -> Result<IntCounterVec, prometheus::Error> {
        let metric = IntCounterVec::new(options(name, help), &names(labels))?;
        self.add(Kind::Counter, name, help, labels, &metric)?;
        Ok(metric)
    }

    /// A counter without labels.
    pub fn single_counter(&mut self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        let metric = IntCounter::with_opts(options(name, help))?;
        self.add(Kind::Counter, name, help, &[], &metric)?;
        Ok(metric)
    }

    /// A gauge of a whole number.
    pub fn gauge(
        &mut self,
        name: &str,
        help: &str,
        labels: &[Label],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        let metric = IntGaugeVec::new(options(name, help), &names(labels))?;
        self.add(Kind::Gauge, name, help, labels, &metric)?;
        Ok(metric)
    }

    /// A gauge of a whole number without labels.
    pub fn single_gauge(&mut self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        let metric = IntGauge::with_opts(options(name, help))?;
        self.add(Kind::Gauge, name, help, &[], &metric)?;
        Ok(metric)
    }

    /// A gauge of any number.
    pub fn float_gauge(
        &mut self,
        name: &str,
        help: &str,
        labels: &[Label],
    ) -> Result<GaugeVec, prometheus::Error> {
        let metric = GaugeVec::new(options(name, help), &names(labels))?;
        self.add(Kind::Gauge, name, help, labels, &metric)?;
        Ok(metric)
    }

    /// A histogram with these upper bounds of its buckets.
    pub fn histogram(
        &mut self,
        name: &str,
        help: &str,
        labels: &[Label],
        buckets: &[f64],
    ) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::from(options(name, help)).buckets(buckets.to_vec());
        let metric = HistogramVec::new(options, &names(labels))?;
        self.add(Kind::Histogram, name, help, labels, &metric)?;
        Ok(metric)
    }

    /// A library's own collector, whose metrics have no labels.
    pub fn collector(&mut self, collector: impl Collector + 'static) -> Result<(), prometheus::Error> {
        for described in collector.desc() {
            let is_counter = described.fq_name.ends_with("_total");
            self.declared.push(Declaration {
                room: self.room,
                name: described.fq_name.clone(),
                kind: if is_counter { Kind::Counter } else { Kind::Gauge },
                help: described.help.clone(),
                labels: Vec::new(),
            });
        }
        self.registry.register(Box::new(collector))
    }

    fn add<C: Collector + Clone + 'static>(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        labels: &[Label],
        metric: &C,
    ) -> Result<(), prometheus::Error> {
        self.declared.push(Declaration {
            room: self.room,
            name: format!("{PREFIX}{name}"),
            kind,
            help: help.to_owned(),
            labels: labels.to_vec(),
        });
        self.registry.register(Box::new(metric.clone()))
    }

    /// The registry with everything that was declared, and the declarations in their order.
    pub fn finish(self) -> (Registry, Vec<Declaration>) {
        (self.registry, self.declared)
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(format!("{PREFIX}{name}"), help)
}

fn names(labels: &[Label]) -> Vec<&'static str> {
    labels.iter().map(|(name, _)| *name).collect()
}

/// What breaks the conventions of Prometheus about names, help and labels, one line each.
#[cfg(test)]
pub fn faults(declared: &[Declaration]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for Declaration {
        name,
        kind,
        help,
        labels,
        ..
    } in declared
    {
        let mut check = |holds: bool, what: &str| {
            if !holds {
                faults.push(format!("{name}: {what}"));
            }
        };
        let is_plain = |text: &str| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|char| matches!(char, 'a'..='z' | '0'..='9' | '_'))
        };
        check(seen.insert(name), "is declared twice");
        check(
            is_plain(name),
            "has a name with other characters than a-z, 0-9 and _",
        );
        check(
            name.starts_with(PREFIX) || name.starts_with("process_"),
            "has another prefix",
        );
        check(
            name.ends_with("_total") == (*kind == Kind::Counter),
            "ends with _total and isn't a counter, or the other way round",
        );
        check(!help.is_empty(), "has no help");
        for word in [
            "counter",
            "gauge",
            "histogram",
            "milliseconds",
            "minutes",
            "percent",
        ] {
            check(
                !name.split('_').any(|part| part == word),
                "has a word to avoid in its name",
            );
        }
        for (label, values) in labels {
            check(is_plain(label) && *label != "le", "has a label that can't be");
            check(!values.is_empty(), "doesn't say what the values of a label are");
        }
    }
    faults
}
