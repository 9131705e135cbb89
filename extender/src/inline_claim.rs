//! The claim object that shows what a pod asks in its annotations.

use std::collections::BTreeMap;

use privatekube_api::{
    ANNOTATION_BLOCKS, ANNOTATION_DATASET, ANNOTATION_DELTA, ANNOTATION_EPSILON, ANNOTATION_MAX_BLOCKS,
    ANNOTATION_MECHANISM, ANNOTATION_MIN_BLOCKS, ANNOTATION_PRIORITY, ANNOTATION_TIMEOUT, BlockCount,
    BudgetSpec, Decimal, Duration, PrivacyBudgetClaimSpec,
};

/// The spec of the claim object, word for word what the annotations say; none if they say nothing that was admitted.
pub fn spec(annotations: &BTreeMap<String, String>) -> Option<PrivacyBudgetClaimSpec> {
    let text = |annotation: &str| annotations.get(annotation).cloned();
    let decimal = |annotation: &str| text(annotation).map(Decimal::Text);
    let number = |annotation: &str| text(annotation).and_then(|text| text.trim().parse().ok());
    let (min, max) = (number(ANNOTATION_MIN_BLOCKS), number(ANNOTATION_MAX_BLOCKS));
    let counted = min.is_some() || max.is_some();
    Some(PrivacyBudgetClaimSpec {
        dataset: text(ANNOTATION_DATASET)?,
        selector: text(ANNOTATION_BLOCKS),
        blocks: counted.then(|| BlockCount {
            min: min.unwrap_or(1),
            max,
            which: None,
        }),
        budget: Some(BudgetSpec {
            epsilon: decimal(ANNOTATION_EPSILON),
            delta: decimal(ANNOTATION_DELTA),
            mechanism: text(ANNOTATION_MECHANISM),
            renyi: None,
        }),
        per_block: None,
        timeout: text(ANNOTATION_TIMEOUT).map(Duration),
        priority: text(ANNOTATION_PRIORITY)
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0),
        consume: None,
        release: None,
    })
}

#[cfg(test)]
mod tests {
    use privatekube_api::{PodRequest, PrivacyBudgetClaim, pod_request};

    use super::*;

    #[test]
    fn the_object_asks_exactly_what_the_annotations_ask() {
        let annotations: BTreeMap<String, String> = [
            (ANNOTATION_DATASET, "data/taxi"),
            (ANNOTATION_EPSILON, "0.5"),
            (ANNOTATION_DELTA, "1e-9"),
            (ANNOTATION_BLOCKS, "block.startTime >= 20770"),
            (ANNOTATION_MAX_BLOCKS, "5"),
            (ANNOTATION_TIMEOUT, "1h"),
            (ANNOTATION_PRIORITY, "3"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        let mut object = PrivacyBudgetClaim::new("c", spec(&annotations).unwrap());
        object.metadata.namespace = Some("team".into());
        let Ok(Some(PodRequest::Inline(asked))) = pod_request(&annotations, "team") else {
            panic!("not inline")
        };
        assert_eq!(object.request().unwrap(), asked);
    }
}
