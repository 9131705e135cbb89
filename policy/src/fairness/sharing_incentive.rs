//! Whether sharing pays: claims that demand no more than their fair share are granted at once, whatever others demand.

/// Whether a demand of `amounts` on a block with `capacity` that `claims` claims share is at most a fair share: at each
/// coordinate with capacity, at most one `claims`-th of it (Luo et al., OSDI 2021, definition 1).
#[must_use]
pub fn is_fair_demand(amounts: &[i64], capacity: &[i64], claims: u32) -> bool {
    let mut coordinates = amounts.iter().zip(capacity);
    coordinates.all(|(amount, capacity)| {
        // A 63-bit and a 32-bit factor: the product is exact.
        *capacity <= 0 || i128::from(*amount) * i128::from(claims) <= i128::from(*capacity)
    })
}

/// Claims that were among the first N of all their blocks and demanded at most a fair share of each. Under DPF with
/// unlocking by N arrivals, equal weights and priorities, and without releases, each of them is granted at once
/// (theorem 1 of the OSDI paper). An arrival costs as much as the claim has blocks, times coordinates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharingIncentive {
    /// How many of them were granted when they arrived.
    pub at_once: u64,
    /// How many of them were not.
    pub not_at_once: u64,
}

impl SharingIncentive {
    /// A claim arrived, and whether it was granted by that. For each of its blocks, `blocks` has how many claims had
    /// arrived for it, with this one, what the claim demands of it, and its capacity. `claims` is the number of claims
    /// that share a block: N. Since revision 2 of the rules, a claim that is denied when it arrives counts as not
    /// arrived, and is not to be given here.
    pub fn arrived<'a>(
        &mut self,
        claims: u32,
        blocks: impl IntoIterator<Item = (u64, &'a [i64], &'a [i64])>,
        granted: bool,
    ) {
        let is_fair = blocks.into_iter().all(|(arrivals, amounts, capacity)| {
            arrivals <= u64::from(claims) && is_fair_demand(amounts, capacity, claims)
        });
        match (is_fair, granted) {
            (true, true) => self.at_once = self.at_once.saturating_add(1),
            (true, false) => self.not_at_once = self.not_at_once.saturating_add(1),
            (false, _) => {}
        }
    }
}
