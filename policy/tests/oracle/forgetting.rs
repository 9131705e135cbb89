//! Claims that ended are forgotten, and summed.

use privatekube_policy::{ClaimId, Phase, Record};

use super::Oracle;

impl Oracle {
    pub(super) fn forget(&mut self, names: &[ClaimId], of: Option<&str>) -> Option<Vec<Record>> {
        let has_not_ended = |name: &ClaimId| {
            let found = self.find(name).map(|at| self.claims[at].phase);
            matches!(found, Some(Phase::Waiting | Phase::Granted))
        };
        if names.iter().any(has_not_ended) {
            return None;
        }
        for name in names {
            let Some(at) = self.find(name) else { continue };
            let claim = self.claims.remove(at);
            let of = of.map(str::to_owned);
            let all = self.folded.entry((None, of.clone(), claim.phase)).or_default();
            all.0 += 1;
            if !matches!(claim.phase, Phase::Consumed | Phase::Released) {
                continue;
            }
            for part in claim.parts {
                let key = (Some(part.block), of.clone(), claim.phase);
                let (claims, consumed) = self.folded.entry(key).or_default();
                *claims += 1;
                consumed.resize(part.consumed.len(), 0);
                for (sum, more) in consumed.iter_mut().zip(part.consumed) {
                    *sum += more;
                }
            }
        }
        Some(Vec::new())
    }
}
