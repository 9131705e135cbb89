//! The request of a pod in its annotations.

use std::collections::BTreeMap;

use crate::{
    ANNOTATION_BLOCKS, ANNOTATION_CLAIM, ANNOTATION_DATASET, ANNOTATION_DELTA, ANNOTATION_EPSILON,
    ANNOTATION_GRANT, ANNOTATION_GRANT_VARIABLE, ANNOTATION_MAX_BLOCKS, ANNOTATION_MECHANISM,
    ANNOTATION_MIN_BLOCKS, ANNOTATION_PREFIX, ANNOTATION_PRIORITY, ANNOTATION_PURPOSE,
    ANNOTATION_REQUESTED_BY, ANNOTATION_RESTARTS, ANNOTATION_TIMEOUT, BlockCount, BudgetAmount,
    BudgetRequest, BudgetSpec, ClaimRequest, DatasetKey, Decimal, DemandRequest, Duration, FieldError,
    FieldErrors, LABEL_MANAGED, NameError, PrivacyBudgetClaimSpec, Selector, Which, check_purpose,
    decimal::{check_length, parse_span},
    excerpt,
    names::is_object_name,
    request::{check_bounds, check_priority, keep},
};

/// A pod's request for budget.
#[derive(Clone, Debug, PartialEq)]
pub enum PodRequest {
    /// A request of its own, for which a claim object is created.
    Inline(ClaimRequest),
    /// The names of existing claims in its namespace, each once, at least one. The pod runs when all are
    /// granted.
    Claims(Vec<String>),
}

/// Every annotation that a user may write.
pub const USER_ANNOTATIONS: [&str; 12] = [
    ANNOTATION_DATASET,
    ANNOTATION_EPSILON,
    ANNOTATION_DELTA,
    ANNOTATION_MECHANISM,
    ANNOTATION_BLOCKS,
    ANNOTATION_MIN_BLOCKS,
    ANNOTATION_MAX_BLOCKS,
    ANNOTATION_TIMEOUT,
    ANNOTATION_PRIORITY,
    ANNOTATION_CLAIM,
    ANNOTATION_RESTARTS,
    ANNOTATION_PURPOSE,
];
/// The annotations that the system writes when the budget is granted.
const WRITTEN_BY_SYSTEM: [&str; 2] = [ANNOTATION_GRANT, ANNOTATION_GRANT_VARIABLE];
/// The only value of [`ANNOTATION_RESTARTS`].
const FREE: &str = "free";
/// The value of [`ANNOTATION_BLOCKS`] that stands for every block of the dataset.
const EVERY_BLOCK: &str = "all";
/// The most claims that a pod may name.
const MOST_CLAIMS: usize = 32;
/// The longest annotation, and the longest list of claims: as many as there may be, with the longest names.
const MOST_CHARACTERS: usize = 2000;
const MOST_CLAIM_CHARACTERS: usize = MOST_CLAIMS * 255;
/// How much of a name that is none is quoted, in bytes.
const MOST_QUOTED: usize = 300;
/// How many unknown annotations of a pod are named.
const MOST_UNKNOWN: usize = 16;
/// The most blocks that a pod may request.
const MOST_BLOCKS: u32 = 100_000;

/// Whether `key`, of an annotation or a label, has our prefix, or one that the API server takes for the same: it checks the
/// key of an annotation in lower case, by Unicode's rules.
#[must_use]
pub fn is_like_ours(key: &str) -> bool {
    let mut folded = key.chars().map(fold);
    ANNOTATION_PREFIX
        .chars()
        .all(|expected| folded.next() == Some(expected))
}

/// The lower case of the letters that can be in our names. The Kelvin sign and the dotted I are the only ones beyond ASCII
/// whose lower case is within.
const fn fold(letter: char) -> char {
    match letter {
        '\u{212a}' => 'k',
        '\u{130}' => 'i',
        other => other.to_ascii_lowercase(),
    }
}

/// Whether a pod with these annotations requests budget, or has an annotation that is almost one of ours.
#[must_use]
pub fn is_managed(annotations: &BTreeMap<String, String>) -> bool {
    annotations.keys().any(|key| is_like_ours(key))
}

/// Refuses labels of ours: they request nothing. The one that marks a managed pod is accepted.
pub fn check_labels<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<(), FieldErrors> {
    let ours = keys
        .into_iter()
        .filter(|key| is_like_ours(key) && *key != LABEL_MANAGED);
    let errors = ours.take(MOST_UNKNOWN).map(|key| {
        let field = format!("metadata.labels[{}]", excerpt(key, MOST_QUOTED));
        FieldError::new(
            field,
            "is a label, and labels request no budget: write it in metadata.annotations",
        )
    });
    FieldErrors::unless_empty(errors.collect(), Some(()))
}

/// Whether the author of a pod with these annotations states that a container that starts again spends nothing new.
#[must_use]
pub fn are_restarts_free(annotations: &BTreeMap<String, String>) -> bool {
    annotations
        .get(ANNOTATION_RESTARTS)
        .is_some_and(|value| value == FREE)
}

/// Parses the request of a pod that is being created, as [`pod_request`] does. It has to say on which blocks it is, since what
/// says nothing takes every block. Pods that exist may say nothing.
pub fn new_pod_request(
    annotations: &BTreeMap<String, String>,
    namespace: &str,
) -> Result<Option<PodRequest>, FieldErrors> {
    let request = pod_request(annotations, namespace);
    let says = [ANNOTATION_CLAIM, ANNOTATION_BLOCKS, ANNOTATION_MAX_BLOCKS]
        .iter()
        .any(|key| annotations.contains_key(*key));
    if says || request == Ok(None) {
        return request;
    }
    let missing = FieldError::new(
        ANNOTATION_BLOCKS,
        format_args!(
            "is missing: say on which blocks, by an expression like block.city == \"nyc\" or by {ANNOTATION_MAX_BLOCKS}, \
             or write {EVERY_BLOCK} for every block of the dataset"
        ),
    );
    match request {
        Ok(_) => Err(missing.into()),
        Err(errors) => Err(errors.and(missing)),
    }
}

/// Parses the request of a pod with these annotations in `namespace`; none if it has no annotation of ours.
pub fn pod_request(
    annotations: &BTreeMap<String, String>,
    namespace: &str,
) -> Result<Option<PodRequest>, FieldErrors> {
    if !is_managed(annotations) {
        return Ok(None);
    }
    // Lengths first, because other errors quote the value.
    let long = USER_ANNOTATIONS.iter().filter_map(|key| {
        let most = if *key == ANNOTATION_CLAIM {
            MOST_CLAIM_CHARACTERS
        } else {
            MOST_CHARACTERS
        };
        check_length(annotations.get(*key)?, most, key).err()
    });
    let mut errors: Vec<FieldError> = long.collect();
    if !errors.is_empty() {
        return FieldErrors::unless_empty(errors, None);
    }
    errors.extend(unknown(annotations));
    if let Some(value) = annotations.get(ANNOTATION_RESTARTS)
        && value != FREE
    {
        errors.push(FieldError::new(
            ANNOTATION_RESTARTS,
            format_args!(
                "{value:?} is not accepted: write {FREE} if a container that starts again spends nothing new, or leave \
                 it out"
            ),
        ));
    }
    if let Some(purpose) = annotations.get(ANNOTATION_PURPOSE) {
        errors.extend(check_purpose(ANNOTATION_PURPOSE, purpose).err());
    }
    let request = if let Some(claims) = annotations.get(ANNOTATION_CLAIM) {
        let goes_with = [ANNOTATION_CLAIM, ANNOTATION_RESTARTS];
        for other in USER_ANNOTATIONS.iter().filter(|known| !goes_with.contains(known)) {
            if annotations.contains_key(*other) {
                errors.push(FieldError::new(
                    *other,
                    format_args!(
                        "doesn't go with {ANNOTATION_CLAIM}, whose claims say it: leave out one of the two"
                    ),
                ));
            }
        }
        keep(claim_names(claims), &mut errors).map(PodRequest::Claims)
    } else {
        inline(annotations, namespace, &mut errors).map(PodRequest::Inline)
    };
    FieldErrors::unless_empty(errors, request).map(Some)
}

/// Returns the spec of the claim object for a pod with these annotations; none if it has no request of its
/// own (it has no annotation of ours, names existing claims, or is wrong). Amounts and expressions are as
/// they were written.
#[must_use]
pub fn claim_spec(annotations: &BTreeMap<String, String>) -> Option<PrivacyBudgetClaimSpec> {
    // The namespace doesn't matter here: the claim is created in the pod's.
    let Ok(Some(PodRequest::Inline(request))) = pod_request(annotations, "default") else {
        return None;
    };
    let DemandRequest::Selected { min, max, budget, .. } = request.demand else {
        return None;
    };
    let get = |key: &str| annotations.get(key).map(|text| text.trim().to_owned());
    let selector = get(ANNOTATION_BLOCKS);
    let is_every = selector.as_deref() == Some(EVERY_BLOCK);
    let bounded = annotations.contains_key(ANNOTATION_MIN_BLOCKS) || max.is_some() || is_every;
    Some(PrivacyBudgetClaimSpec {
        dataset: get(ANNOTATION_DATASET)?,
        selector: selector.filter(|_| !is_every),
        blocks: bounded.then_some(BlockCount {
            min,
            max,
            which: (is_every && max.is_none()).then_some(Which::All),
        }),
        budget: Some(match budget {
            BudgetRequest::Guarantee { epsilon, delta } => BudgetSpec {
                amount: BudgetAmount {
                    epsilon: Some(Decimal::as_written(annotations.get(ANNOTATION_EPSILON)?, epsilon)),
                    delta: Some(Decimal::as_written(annotations.get(ANNOTATION_DELTA)?, delta)),
                    renyi: None,
                },
                mechanism: None,
            },
            BudgetRequest::Curve(_) | BudgetRequest::Mechanism(..) => BudgetSpec {
                mechanism: get(ANNOTATION_MECHANISM),
                ..BudgetSpec::default()
            },
        }),
        timeout: get(ANNOTATION_TIMEOUT).map(Duration),
        priority: request.priority,
        purpose: get(ANNOTATION_PURPOSE),
        ..PrivacyBudgetClaimSpec::default()
    })
}

/// Returns an error for each annotation of ours that a user may not write.
fn unknown(annotations: &BTreeMap<String, String>) -> Vec<FieldError> {
    let ours = annotations.keys().filter(|key| is_like_ours(key));
    let unknown = ours
        .filter(|key| !USER_ANNOTATIONS.contains(&key.as_str()) && !WRITTEN_BY_SYSTEM.contains(&key.as_str()))
        // Admission writes it, over what a copied pod or template has.
        .filter(|key| *key != ANNOTATION_REQUESTED_BY)
        .take(MOST_UNKNOWN)
        .map(|key| {
            let hint = match nearest(key) {
                Some(near) => format!("did you mean {near}? "),
                None => String::new(),
            };
            FieldError::new(
                key,
                format_args!("is not known: {hint}known are {}", USER_ANNOTATIONS.join(", ")),
            )
        });
    copied(annotations).into_iter().chain(unknown).collect()
}

/// Returns an error if a pod has what the system writes on a pod whose budget is granted: it is a copy of such a pod.
fn copied(annotations: &BTreeMap<String, String>) -> Option<FieldError> {
    let has = |key: &&&str| annotations.contains_key(**key);
    let mut written = WRITTEN_BY_SYSTEM.iter().filter(has);
    let first = written.next()?;
    let (too, them) = match written.next() {
        Some(other) => (format!(", as {other}"), "both"),
        None => (String::new(), "it"),
    };
    Some(FieldError::new(
        *first,
        format_args!(
            "is written by the system when the budget is granted{too}: leave {them} out, as a copy of a pod requests budget \
             of its own (from an exported pod, apply only what you wrote; instead of kubectl debug --copy-to, debug the pod \
             itself)"
        ),
    ))
}

/// The known annotation that `key` is most likely a slip of, if any.
fn nearest(key: &str) -> Option<&'static str> {
    const MOST_SLIPS: usize = 2;
    // No slip makes it so long, and the comparison costs as much as it is long.
    if key.len() > 2 * ANNOTATION_MIN_BLOCKS.len() {
        return None;
    }
    let folded: String = key.chars().map(fold).collect();
    let slips = |known: &&str| strsim::levenshtein(&folded, known);
    let near = USER_ANNOTATIONS.into_iter().min_by_key(|known| slips(known))?;
    (slips(&near) <= MOST_SLIPS).then_some(near)
}

fn claim_names(text: &str) -> Result<Vec<String>, FieldErrors> {
    let mut errors = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for name in text.split(',').map(str::trim) {
        if !is_object_name(name) {
            errors.push(FieldError::new(
                ANNOTATION_CLAIM,
                NameError::NotAName(excerpt(name, MOST_QUOTED).into_owned()),
            ));
        } else if names.iter().any(|earlier| earlier == name) {
            errors.push(FieldError::new(
                ANNOTATION_CLAIM,
                format_args!("{name:?} is named twice: write each claim once"),
            ));
        } else {
            names.push(name.to_owned());
        }
    }
    if names.len() > MOST_CLAIMS {
        errors.push(FieldError::new(
            ANNOTATION_CLAIM,
            format_args!("{} claims are too many: write at most {MOST_CLAIMS}", names.len()),
        ));
    }
    FieldErrors::unless_empty(errors, Some(names))
}

fn inline(
    annotations: &BTreeMap<String, String>,
    namespace: &str,
    errors: &mut Vec<FieldError>,
) -> Option<ClaimRequest> {
    let get = |key: &str| annotations.get(key).map(String::as_str);
    let dataset = keep(dataset(get(ANNOTATION_DATASET), namespace), errors);
    let budget = keep(
        budget(
            get(ANNOTATION_EPSILON),
            get(ANNOTATION_DELTA),
            get(ANNOTATION_MECHANISM),
        ),
        errors,
    );
    let selector = get(ANNOTATION_BLOCKS)
        .filter(|text| text.trim() != EVERY_BLOCK)
        .map(Selector::parse)
        .transpose();
    let selector = keep(
        selector.map_err(|problem| FieldError::new(ANNOTATION_BLOCKS, problem)),
        errors,
    );
    let min = get(ANNOTATION_MIN_BLOCKS).map_or(Ok(1), |text| block_count(ANNOTATION_MIN_BLOCKS, text));
    let min = keep(min, errors);
    let max = get(ANNOTATION_MAX_BLOCKS)
        .map(|text| block_count(ANNOTATION_MAX_BLOCKS, text))
        .transpose();
    let max = keep(max, errors);
    if let (Some(min), Some(max)) = (min, max) {
        keep(
            check_bounds((ANNOTATION_MIN_BLOCKS, min), (ANNOTATION_MAX_BLOCKS, max)),
            errors,
        );
    }
    if let (Some(budget), Some(min), Some(max)) = (&budget, min, max) {
        let (min, max) = ((ANNOTATION_MIN_BLOCKS, min), (ANNOTATION_MAX_BLOCKS, max));
        keep(budget.check_sampling(ANNOTATION_MECHANISM, min, max), errors);
    }
    let timeout = get(ANNOTATION_TIMEOUT).map(|text| parse_span(text, ANNOTATION_TIMEOUT));
    let timeout = keep(timeout.transpose(), errors);
    let priority = keep(get(ANNOTATION_PRIORITY).map_or(Ok(0), priority), errors);
    Some(ClaimRequest {
        dataset: dataset?,
        demand: DemandRequest::Selected {
            selector: selector?,
            min: min?,
            max: max?,
            budget: budget?,
        },
        timeout: timeout?,
        priority: priority?,
    })
}

fn dataset(text: Option<&str>, namespace: &str) -> Result<DatasetKey, FieldError> {
    let Some(text) = text else {
        return Err(FieldError::new(
            ANNOTATION_DATASET,
            "is missing: write the dataset's name, or namespace/name",
        ));
    };
    DatasetKey::parse(text, namespace).map_err(|problem| FieldError::new(ANNOTATION_DATASET, problem))
}

fn budget(
    epsilon: Option<&str>,
    delta: Option<&str>,
    mechanism: Option<&str>,
) -> Result<BudgetRequest, FieldErrors> {
    match (epsilon, delta, mechanism) {
        (Some(epsilon), Some(delta), None) => BudgetRequest::guarantee(
            (ANNOTATION_EPSILON, &Decimal::from(epsilon)),
            (ANNOTATION_DELTA, &Decimal::from(delta)),
        ),
        (None, None, Some(mechanism)) => Ok(BudgetRequest::mechanism(ANNOTATION_MECHANISM, mechanism)?),
        (Some(_), None, None) => Err(FieldError::new(
            ANNOTATION_DELTA,
            format_args!("is missing: {ANNOTATION_EPSILON} goes with a delta, like 1e-9 (it may be 0)"),
        )
        .into()),
        (None, Some(_), None) => Err(FieldError::new(
            ANNOTATION_EPSILON,
            format_args!("is missing: {ANNOTATION_DELTA} goes with an epsilon, like 0.5"),
        )
        .into()),
        (None, None, None) => Err(FieldError::new(
            ANNOTATION_EPSILON,
            format_args!(
                "is missing: say how much budget the pod needs on each block, with {ANNOTATION_EPSILON} and \
                 {ANNOTATION_DELTA}, or with {ANNOTATION_MECHANISM}"
            ),
        )
        .into()),
        (_, _, Some(_)) => Err(FieldError::new(
            ANNOTATION_MECHANISM,
            format_args!(
                "doesn't go with {ANNOTATION_EPSILON} and {ANNOTATION_DELTA}: leave out one of the two"
            ),
        )
        .into()),
    }
}

fn block_count(field: &str, text: &str) -> Result<u32, FieldError> {
    let count = text.trim().parse::<u32>();
    count
        .ok()
        .filter(|count| (1..=MOST_BLOCKS).contains(count))
        .ok_or_else(|| {
            FieldError::new(
                field,
                format_args!(
                    "{text:?} is not a number of blocks: write an integer between 1 and {MOST_BLOCKS}"
                ),
            )
        })
}

fn priority(text: &str) -> Result<i32, FieldError> {
    match text.trim().parse() {
        Ok(priority) => check_priority(ANNOTATION_PRIORITY, priority),
        Err(_) => Err(FieldError::new(
            ANNOTATION_PRIORITY,
            format_args!("{text:?} is not a priority: write an integer between -1000 and 1000"),
        )),
    }
}
