//! Finds the noise with which a training keeps an epsilon, in the same way as the papers' programs.

use privatekube_policy::Epsilon;

/// A bisection. It stops where the papers' programs stop, as soon as the epsilon is near enough, so its
/// results equal theirs to the last digit.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoiseSearch {
    /// Lower limit of the noise.
    pub(super) least: f64,
    /// Upper limit of the noise, which is tried first.
    pub(super) most: f64,
    /// Relative tolerance: how far below the target the epsilon may be.
    pub(super) tolerance: f64,
}

impl NoiseSearch {
    /// Returns a noise at which `epsilon_at` is at most `target` and within the tolerance of it. Returns
    /// `None` if even the most noise exceeds the target, or if no noise comes near enough.
    pub(super) fn find<E>(
        self,
        target: f64,
        mut epsilon_at: impl FnMut(f64) -> Result<f64, E>,
    ) -> Result<Option<f64>, E> {
        /// After this number of steps, no double lies between the limits.
        const MOST_HALVES: u32 = 200;
        let (mut least, mut most) = (self.least, self.most);
        let mut noise = most;
        for half in 0..MOST_HALVES {
            let epsilon = epsilon_at(noise)?;
            let is_enough = epsilon <= target;
            if is_enough && epsilon >= (1.0 - self.tolerance) * target {
                return Ok(Some(noise));
            }
            if is_enough {
                most = noise;
            } else if half == 0 {
                return Ok(None);
            } else {
                least = noise;
            }
            noise = f64::midpoint(most, least);
        }
        Ok(None)
    }
}

/// Converts an epsilon to a double.
pub(super) fn as_f64(epsilon: Epsilon) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a search needs a few digits of it")]
    let units = epsilon.units() as f64;
    units / 1e12
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(target: f64, epsilon_at: impl Fn(f64) -> f64) -> Option<f64> {
        let search = NoiseSearch {
            least: 0.01,
            most: 1000.0,
            tolerance: 0.01,
        };
        search
            .find(target, |noise| Ok::<_, ()>(epsilon_at(noise)))
            .unwrap()
    }

    #[test]
    fn the_noise_found_keeps_the_target_and_is_near_it() {
        for target in [0.002, 0.3, 7.0, 90.0] {
            let noise = find(target, |noise| 1.0 / noise).unwrap();
            assert!(
                (0.99 * target..=target).contains(&(1.0 / noise)),
                "{target}: {noise}"
            );
        }
    }

    #[test]
    fn a_target_that_no_noise_keeps_or_comes_near_has_none() {
        assert_eq!(find(1.0, |noise| 2.0 + 1.0 / noise), None);
        assert_eq!(find(1.0, |noise| if noise > 5.0 { 0.1 } else { 2.0 }), None);
    }
}
