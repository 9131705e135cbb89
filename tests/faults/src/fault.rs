//! [`Fault`]: what can go wrong with one request, and how often it does.

use std::{fmt, str::FromStr, time::Duration};

use anyhow::{Context, Result, bail, ensure};

use crate::random::Random;

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The connection is cut before the API server sees the request.
    RequestLost,
    /// The API server carries the request out. Then the connection is cut in place of the answer.
    ReplyLost,
    /// The request waits before it is sent on.
    Delayed,
    /// The answer waits before it is sent back.
    DelayedReply,
    /// The answer begins, and the connection is cut in its middle.
    CutAnswer,
    /// The API server doesn't see the request, and the answer is 429 with Retry-After.
    Throttled,
    /// The API server doesn't see the request, and the answer is 503.
    Unavailable,
    /// A watch delivers nothing for some time, and then goes on.
    WatchStalled,
    /// A watch is cut after some of its events.
    WatchCut,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::RequestLost,
        Self::ReplyLost,
        Self::Delayed,
        Self::DelayedReply,
        Self::CutAnswer,
        Self::Throttled,
        Self::Unavailable,
        Self::WatchStalled,
        Self::WatchCut,
    ];

    /// Its name in logs and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestLost => "request-lost",
            Self::ReplyLost => "reply-lost",
            Self::Delayed => "delayed",
            Self::DelayedReply => "delayed-reply",
            Self::CutAnswer => "cut-answer",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::WatchStalled => "watch-stalled",
            Self::WatchCut => "watch-cut",
        }
    }

    /// Whether it can happen to a watch, or to any other request.
    const fn happens_to(self, watch: bool) -> bool {
        match self {
            Self::WatchStalled | Self::WatchCut => watch,
            Self::ReplyLost | Self::DelayedReply | Self::CutAnswer => !watch,
            Self::RequestLost | Self::Delayed | Self::Throttled | Self::Unavailable => true,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = Self::ALL.into_iter().find(|fault| fault.name() == text);
        named.with_context(|| {
            let all = Self::ALL.map(Self::name).join(", ");
            format!("{text:?} is no fault: write one of {all}")
        })
    }
}

/// How often each fault happens, in thousandths of the requests that it can happen to, and how long delays are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRates {
    rates: Vec<(Fault, u16)>,
    /// The longest delay of a request or an answer.
    pub longest_delay: Duration,
    /// The longest time for which a watch stalls.
    pub longest_stall: Duration,
    /// The most pieces of a watch's answer that come before it stalls or is cut.
    pub most_before: u64,
}

impl Default for FaultRates {
    fn default() -> Self {
        Self::none()
    }
}

impl FaultRates {
    /// No faults.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            rates: Vec::new(),
            longest_delay: Duration::from_secs(1),
            longest_stall: Duration::from_secs(5),
            most_before: 20,
        }
    }

    /// Sets the rate of a fault, in thousandths.
    #[must_use]
    pub fn with(mut self, fault: Fault, thousandths: u16) -> Self {
        self.rates.retain(|(other, _)| *other != fault);
        self.rates.push((fault, thousandths));
        self
    }

    /// Reads `FAULT=THOUSANDTHS`.
    pub fn parse(text: &str) -> Result<(Fault, u16)> {
        let Some((fault, thousandths)) = text.split_once('=') else {
            bail!("{text:?} is no rate: write FAULT=THOUSANDTHS, like reply-lost=20");
        };
        let thousandths: u16 = thousandths
            .parse()
            .with_context(|| format!("{thousandths:?} in {text:?}: write thousandths from 0 to 1000"))?;
        ensure!(thousandths <= 1000, "{text:?}: write thousandths from 0 to 1000");
        Ok((fault.parse()?, thousandths))
    }

    /// Chooses what goes wrong with a request; mostly nothing.
    pub(crate) fn choose(&self, random: &mut Random, watch: bool) -> Option<Fault> {
        let possible = self.rates.iter().filter(|(fault, _)| fault.happens_to(watch));
        let mut at = random.below(1000);
        for (fault, thousandths) in possible {
            match at.checked_sub(u64::from(*thousandths)) {
                None => return Some(*fault),
                Some(rest) => at = rest,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_happen_as_often_as_their_rates_say_and_only_where_they_can() {
        let rates = FaultRates::none()
            .with(Fault::ReplyLost, 100)
            .with(Fault::Delayed, 50)
            .with(Fault::WatchCut, 200);
        let mut random = Random::new(1);
        let mut count = |watch: bool, fault: Option<Fault>| {
            let chosen = (0..10_000).map(|_| rates.choose(&mut random, watch));
            chosen.filter(|chosen| *chosen == fault).count()
        };
        assert!((900..1100).contains(&count(false, Some(Fault::ReplyLost))));
        assert!((400..600).contains(&count(false, Some(Fault::Delayed))));
        assert!((1800..2200).contains(&count(true, Some(Fault::WatchCut))));
        assert_eq!(count(true, Some(Fault::ReplyLost)), 0);
        assert_eq!(count(false, Some(Fault::WatchCut)), 0);
        assert!((8300..8700).contains(&count(false, None)));
    }

    #[test]
    fn a_rate_is_read_and_a_wrong_one_says_what_is_accepted() {
        for fault in Fault::ALL {
            let text = format!("{fault}=1000");
            assert_eq!(FaultRates::parse(&text).ok(), Some((fault, 1000)));
        }
        for (wrong, says) in [
            ("reply-lost", "FAULT=THOUSANDTHS"),
            ("reply-lost=1001", "0 to 1000"),
            ("reply-lost=x", "0 to 1000"),
            ("reply=1", "write one of request-lost, reply-lost"),
        ] {
            let error = FaultRates::parse(wrong).err().map(|error| format!("{error:#}"));
            assert!(
                error.as_ref().is_some_and(|error| error.contains(says)),
                "{error:?}"
            );
        }
    }
}
