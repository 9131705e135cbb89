//! The state that is measured: many blocks, and many claims that wait for them.
#![allow(clippy::expect_used, reason = "a benchmark that is set up wrong must stop")]

mod random;

use std::hint::black_box;

use privatekube_policy::{
    Arrival, BlockId, Budget, Composition, DatasetRules, Demand, Engine, Event, Orders, Policy, Revision,
    Unlocking, Weight,
};
use random::Random;

const BLOCKS: u64 = 10_000;
const MOST_BLOCKS: u64 = 10;
/// A block's capacity at each coordinate. Each arrival of a claim unlocks 1 of it.
const CAPACITY: i64 = 1_000_000_000_000;
const ARRIVALS: u32 = 1_000_000_000;
/// The amount of each block that is unlocked when measuring begins. Large claims demand at least ten times as
/// much.
const UNLOCKED: i64 = 1_000_000_000;

pub(crate) struct World {
    engine: Engine,
    blocks: Vec<BlockId>,
    random: Random,
    made: u64,
    coordinates: usize,
}

fn budget(units: impl Iterator<Item = i64>) -> Budget {
    Budget::new(units.collect()).expect("no amount is negative")
}

impl World {
    pub(crate) fn new(composition: Composition, waiting: u64) -> Self {
        let coordinates = composition.coordinates();
        let rules = DatasetRules {
            policy: Policy::Dpf,
            unlocking: Unlocking::Arrivals(ARRIVALS),
            composition,
            revision: Revision::CURRENT,
        };
        let mut engine = Engine::new(rules).expect("the rules is usable");
        let blocks: Vec<BlockId> = (0..BLOCKS)
            .map(|at| BlockId::from(format!("block-{at}")))
            .collect();
        for block in &blocks {
            let capacity = budget((0..coordinates).map(|_| CAPACITY));
            engine
                .apply(&Event::AddBlock {
                    block: block.clone(),
                    capacity,
                })
                .expect("the block is new");
        }
        let mut world = Self {
            engine,
            blocks,
            random: Random::new(7),
            made: 0,
            coordinates,
        };
        for _ in 0..waiting {
            let claim = world.large();
            world.apply(&Event::Arrive(claim));
        }
        world
    }

    pub(crate) fn apply(&mut self, event: &Event) {
        black_box(self.engine.apply(event).expect("the event makes sense"));
    }

    #[allow(dead_code, reason = "each benchmark uses its part of it")]
    pub(crate) const fn engine(&self) -> &Engine {
        &self.engine
    }

    fn arrival(&mut self, least: i64, most: u64) -> Arrival {
        let count = 1 + self.random.below(MOST_BLOCKS);
        let first = self.random.below(BLOCKS);
        let step = 1 + self.random.below(BLOCKS / MOST_BLOCKS - 1);
        let at = |nth: u64| usize::try_from((first + nth * step) % BLOCKS).unwrap_or(0);
        let blocks = (0..count).map(|nth| self.blocks[at(nth)].clone()).collect();
        let asked: Vec<i64> = (0..self.coordinates)
            .map(|_| least + i64::try_from(self.random.below(most)).unwrap_or(0))
            .collect();
        self.made += 1;
        Arrival {
            claim: format!("claim-{}", self.made).into(),
            demands: vec![Demand {
                blocks,
                budget: budget(asked.into_iter()),
            }],
            min_blocks: 1,
            timeout: None,
            priority: 0,
            weight: Weight::default(),
        }
    }

    /// A claim that demands more than will ever be unlocked here.
    pub(crate) fn large(&mut self) -> Arrival {
        self.arrival(10 * UNLOCKED, 400_000_000_000)
    }

    /// A claim that demands less than one arrival unlocks.
    pub(crate) fn small(&mut self) -> Arrival {
        self.arrival(1, 99)
    }
}

pub(crate) fn compositions() -> [(&'static str, Composition); 2] {
    [
        ("basic", Composition::Basic),
        ("renyi-12", Composition::Renyi(Orders::default())),
    ]
}
