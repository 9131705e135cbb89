//! The random numbers of Python's `random.Random`, draw for draw. The simulator released with the OSDI'21
//! paper draws its workloads from them. It is a Mersenne Twister (MT19937), seeded and read as in CPython
//! (`Modules/_randommodule.c`, `Lib/random.py`).

use rand_mt::Mt;

/// Python's random number generator, seeded with an integer.
#[derive(Clone, Debug)]
pub struct Random(Mt);

impl Random {
    /// `random.Random(seed)`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // The seed's 32-bit digits, the least significant first, without leading zeros, but at least one.
        #[expect(clippy::cast_possible_truncation, reason = "the lower and the upper half")]
        let digits = [seed as u32, (seed >> 32) as u32];
        let count = if digits[1] == 0 { 1 } else { 2 };
        Self(Mt::new_with_key(digits[..count].iter().copied()))
    }

    /// `random()`: 53 bits of [0, 1).
    pub fn random(&mut self) -> f64 {
        let high = f64::from(self.0.next_u32() >> 5);
        let low = f64::from(self.0.next_u32() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    /// `uniform(least, most)`.
    pub fn uniform(&mut self, least: f64, most: f64) -> f64 {
        least + (most - least) * self.random()
    }

    /// `expovariate(rate)`: an exponentially distributed interval with the mean 1/`rate`.
    pub fn expovariate(&mut self, rate: f64) -> f64 {
        -(1.0 - self.random()).ln() / rate
    }

    /// `choices((one, other), (probability, 1 - probability))[0]`.
    pub fn either<T>(&mut self, probability: f64, one: T, other: T) -> T {
        let total = probability + (1.0 - probability);
        if self.random() * total < probability {
            one
        } else {
            other
        }
    }

    /// Chooses one of `all`, each with the same probability: `all[randint(1, len(all)) - 1]`. None of an
    /// empty slice, and none of 2^32 or more.
    pub fn choose<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let count = u32::try_from(all.len()).ok().filter(|count| *count > 0)?;
        let place = usize::try_from(self.one_to(count) - 1).ok()?;
        all.get(place)
    }

    /// `randint(1, most)`, `most` at least 1. It consumes random numbers even if there is nothing to choose.
    pub fn one_to(&mut self, most: u32) -> u32 {
        let bits = u32::BITS - most.leading_zeros();
        loop {
            // `getrandbits(bits)`; for no bits Python draws nothing.
            let drawn = if bits == 0 {
                0
            } else {
                self.0.next_u32() >> (u32::BITS - bits)
            };
            if drawn < most.max(1) {
                return drawn + 1;
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the very same bits are meant")]
mod tests {
    use super::*;

    /// From CPython 3.11: `r = random.Random(3345); [r.random(), r.uniform(2, 3), r.expovariate(4), ...]`.
    #[test]
    fn draws_are_those_of_python() {
        let mut random = Random::new(3345);
        assert_eq!(random.random(), 0.838_604_215_933_612_3);
        assert_eq!(random.uniform(2.0, 3.0), 2.720_843_176_438_666);
        assert_eq!(random.expovariate(4.0), 0.492_350_095_471_866_3);
        assert_eq!(random.either(0.75, 1, 10), 1);
        assert_eq!(random.either(0.25, 1, 10), 1);
        assert_eq!(random.one_to(1), 1);
        assert_eq!(random.one_to(412), 80);
        assert_eq!(random.one_to(3), 1);
        assert_eq!(random.random(), 0.882_330_545_062_096_1);
    }

    #[test]
    fn seeds_of_more_than_32_bits_and_zero_are_those_of_python() {
        assert_eq!(Random::new((1 << 40) + 7).random(), 0.613_703_777_993_651_1);
        assert_eq!(Random::new(0).random(), 0.844_421_851_525_048_1);
    }
}
