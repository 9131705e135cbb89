//! The list of blocks in a claim's status: bounded, so that the status can always be written.

use privatekube_policy::Demand;

use crate::ClaimBlock;

/// The most bytes of JSON that the list takes: half of what etcd accepts in one write by default (1.5 MiB), which leaves the
/// other half for the claim's spec, its annotations and all else of its status.
pub const MOST_LISTED_BYTES: usize = 768 << 10;

/// What the JSON of a block without a data source takes beside its name: `{"name":""},`.
const BESIDE_NAME: usize = 12;

/// The blocks that a claim's status lists: all, if need be without data sources, or the first ones that fit.
#[must_use]
pub fn listed_blocks(mut blocks: Vec<ClaimBlock>) -> Vec<ClaimBlock> {
    let json_bytes = |block: &ClaimBlock| serde_json::to_vec(block).map_or(0, |json| json.len() + 1);
    if blocks.iter().map(json_bytes).sum::<usize>() <= MOST_LISTED_BYTES {
        return blocks;
    }
    let mut bytes = 0;
    let fit = blocks.iter().take_while(|block| {
        bytes += block.name.len() + BESIDE_NAME;
        bytes <= MOST_LISTED_BYTES
    });
    let fit = fit.count();
    blocks.truncate(fit);
    for block in &mut blocks {
        block.data_source = None;
    }
    blocks
}

/// Whether a status lists all of the blocks with names of these lengths.
#[must_use]
pub fn are_all_listed(name_lengths: impl Iterator<Item = usize>) -> bool {
    name_lengths.map(|length| length + BESIDE_NAME).sum::<usize>() <= MOST_LISTED_BYTES
}

/// How many bytes the names of all blocks of `demands` take in a status.
#[must_use]
pub fn name_bytes(demands: &[Demand]) -> usize {
    let blocks = demands.iter().flat_map(|demand| &demand.blocks);
    blocks.map(|block| block.as_str().len() + BESIDE_NAME).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(count: usize, source: usize) -> Vec<ClaimBlock> {
        let block = |at| ClaimBlock {
            name: format!("taxi-{at:08}"),
            data_source: (source > 0).then(|| "\"".repeat(source)),
        };
        (0..count).map(block).collect()
    }

    fn bytes(blocks: &[ClaimBlock]) -> usize {
        serde_json::to_vec(blocks).unwrap().len()
    }

    #[test]
    fn what_is_listed_always_fits() {
        // A quote takes two bytes.
        for (count, source, (listed, has_source)) in [
            (1, 10, (1, true)),
            (10_000, 10, (10_000, true)),
            (800, 2000, (800, false)),
            (10_000, 100, (10_000, false)),
            (60_000, 0, (31_457, false)),
        ] {
            let all = blocks(count, source);
            let fit = are_all_listed(all.iter().map(|block| block.name.len()));
            let list = listed_blocks(all);
            assert_eq!(list.len(), listed, "{count} blocks");
            assert_eq!(fit, list.len() == count);
            assert_eq!(list[0].data_source.is_some(), has_source, "{count} blocks");
            assert!(bytes(&list) <= MOST_LISTED_BYTES + 2, "{count} blocks");
        }
    }
}
