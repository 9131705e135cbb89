//! Numbers that say how evenly shares are divided among groups.

/// Jain's index of `shares`: the square of their sum over their number times the sum of their squares. It is 1 if all
/// are equal, and 1/n if one of n has everything. For weighted fairness, give each share divided by its weight.
/// None if there are no shares, or if all are 0, which is neither fair nor unfair.
///
/// R. Jain, D. Chiu and W. Hawe: "A Quantitative Measure of Fairness and Discrimination for Resource Allocation in
/// Shared Computer Systems", DEC-TR-301, 1984.
///
/// # Examples
///
/// ```
/// use privatekube_policy::fairness::jain;
///
/// assert_eq!(jain([0.25, 0.25]), Some(1.0));
/// assert_eq!(jain([0.5, 0.0]), Some(0.5));
/// // With weights 3 and 1, three times the share is fair.
/// assert_eq!(jain([0.75 / 3.0, 0.25 / 1.0]), Some(1.0));
/// ```
#[must_use]
pub fn jain(shares: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for share in shares {
        count += 1.0;
        sum += share;
        squares += share * share;
    }
    // A sum of squares that underflows would make the index infinite.
    (squares > 0.0).then(|| (sum * sum / (count * squares)).min(1.0))
}

/// How far shares are from being proportional to weights: the part of all that is shared which would have to belong to
/// other groups. `groups` has the share and the weight of each. It is 0 if shares are proportional to weights, and
/// near 1 if a group with little weight has everything. None if there are no shares or no weights.
///
/// It is half the sum of the differences between each group's part of the shares and its part of the weights, Hoover's
/// index of concentration (E. Hoover: "The Measurement of Industrial Localization", Review of Economics and
/// Statistics, 1936).
///
/// # Examples
///
/// ```
/// use privatekube_policy::fairness::disagreement;
///
/// assert_eq!(disagreement([(0.75, 3.0), (0.25, 1.0)]), Some(0.0));
/// // A quarter of all shares would have to go from the second to the first.
/// assert_eq!(disagreement([(0.5, 3.0), (0.5, 1.0)]), Some(0.25));
/// ```
#[must_use]
pub fn disagreement(groups: impl IntoIterator<Item = (f64, f64), IntoIter: Clone>) -> Option<f64> {
    let groups = groups.into_iter();
    let (mut shares, mut weights) = (0.0, 0.0);
    for (share, weight) in groups.clone() {
        shares += share;
        weights += weight;
    }
    if shares <= 0.0 || weights <= 0.0 {
        return None;
    }
    let apart = groups.map(|(share, weight)| (share / shares - weight / weights).abs());
    Some(apart.sum::<f64>() / 2.0)
}
