//! What is asked about, and the claims that it has.

use anyhow::{Result, bail};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{ResourceExt, api::ListParams};
use privatekube_api::{
    BudgetSource, ClaimRequest, DatasetKey, PodRequest, PrivacyBudgetClaim, Subject, SubjectKind, is_managed,
    pod_request,
};

use crate::cluster::Cluster;

/// The label that the Job controller gives the pods of a Job.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// The most pods of a Job that are explained.
const MOST_PODS: usize = 20;

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    kind: Option<Kind>,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pod,
    Job,
    Claim,
}

impl Reference {
    /// Reads `NAME` or `KIND/NAME`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (kind, name) = match text.split_once('/') {
            None => (None, text),
            Some((kind, name)) => {
                let kind = match kind.to_ascii_lowercase().as_str() {
                    "pod" | "pods" | "po" => Kind::Pod,
                    "job" | "jobs" | "job.batch" | "jobs.batch" => Kind::Job,
                    "claim" | "claims" | "pbc" | "privacybudgetclaim" | "privacybudgetclaims" => Kind::Claim,
                    "privacybudgetclaim.privatekube.dev" | "privacybudgetclaims.privatekube.dev" => {
                        Kind::Claim
                    }
                    _ => {
                        return Err(format!(
                            "{kind:?} has no claims: write pod/NAME, job/NAME or claim/NAME"
                        ));
                    }
                };
                (Some(kind), name)
            }
        };
        if privatekube_api::is_object_name(name) {
            Ok(Self {
                kind,
                name: name.to_owned(),
            })
        } else {
            Err(format!("{name:?} is no name of an object"))
        }
    }
}

impl Reference {
    /// The name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// A claim that is asked about, as its objects state it.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) subject: Subject,
    pub(crate) dataset: DatasetKey,
    /// The claim's object, if there is one.
    pub(crate) object: Option<PrivacyBudgetClaim>,
    /// What it requests, if that can be read.
    pub(crate) request: Option<ClaimRequest>,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct FoundClaims {
    pub(crate) of: String,
    pub(crate) notes: Vec<String>,
    pub(crate) claims: Vec<Named>,
    /// Whether something is waited for that isn't there.
    pub(crate) waits: bool,
}

/// Finds what is asked about.
pub(crate) async fn find(cluster: &Cluster, of: &Reference) -> Result<FoundClaims> {
    let (namespace, name) = (&cluster.namespace, &of.name);
    let is_asked = |kind| of.kind.is_none_or(|asked| asked == kind);
    let mut kinds = Vec::new();
    let mut found = FoundClaims::default();
    if is_asked(Kind::Pod)
        && let Some(pod) = cluster.get::<Pod>(namespace, name).await?
    {
        kinds.push("pod");
        found = of_pod(cluster, &pod).await?;
    }
    if is_asked(Kind::Claim)
        && let Some(object) = cluster.get::<PrivacyBudgetClaim>(namespace, name).await?
    {
        kinds.push("claim");
        found = FoundClaims {
            of: format!("claim {namespace}/{name}"),
            claims: named(object).into_iter().collect(),
            ..FoundClaims::default()
        };
    }
    if is_asked(Kind::Job)
        && let Some(job) = cluster.get::<Job>(namespace, name).await?
    {
        kinds.push("job");
        found = of_job(cluster, &job).await?;
    }
    match kinds.as_slice() {
        [_] => Ok(found),
        [] => bail!("there is no pod, claim or Job {name} in namespace {namespace} (-n names another one)"),
        several => {
            let several: Vec<String> = several.iter().map(|kind| format!("{kind}/{name}")).collect();
            bail!(
                "several objects have that name: write one of {}",
                several.join(", ")
            )
        }
    }
}

/// The claim of a claim object; `None` if it names no dataset, which admission refuses.
fn named(object: PrivacyBudgetClaim) -> Option<Named> {
    let subject = Subject::of_object(&object)?;
    Some(Named {
        dataset: DatasetKey::parse(&object.spec.dataset, &subject.namespace).ok()?,
        request: object.request().ok(),
        subject,
        object: Some(object),
    })
}

async fn of_pod(cluster: &Cluster, pod: &Pod) -> Result<FoundClaims> {
    let namespace = pod.namespace().unwrap_or_default();
    let name = pod.name_any();
    let mut found = FoundClaims {
        of: format!("pod {namespace}/{name}"),
        ..FoundClaims::default()
    };
    if !is_managed(pod.annotations()) {
        found.notes.push(format!(
            "pod {namespace}/{name} has no annotation of PrivateKube: it requests no budget"
        ));
        return Ok(found);
    }
    match BudgetSource::of(pod) {
        BudgetSource::Own { subject, dataset } => {
            let object = cluster.get(&subject.namespace, &subject.claim_name()).await?;
            let request = match pod_request(pod.annotations(), &namespace) {
                Ok(Some(PodRequest::Inline(request))) => Some(request),
                _ => None,
            };
            found.claims.push(Named {
                subject,
                dataset,
                object,
                request,
            });
        }
        BudgetSource::Claims(names) => {
            for claim in names {
                if let Some(object) = cluster.get::<PrivacyBudgetClaim>(&namespace, &claim).await? {
                    found.claims.extend(named(object));
                } else {
                    found.waits = true;
                    found.notes.push(format!(
                        "pod {namespace}/{name} waits for claim {namespace}/{claim}, which doesn't exist"
                    ));
                }
            }
        }
        BudgetSource::Unreadable(why) => found
            .notes
            .push(format!("pod {namespace}/{name} is not understood: {why}")),
    }
    Ok(found)
}

async fn of_job(cluster: &Cluster, job: &Job) -> Result<FoundClaims> {
    let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
    let params = ListParams::default().labels(&format!("{JOB_NAME}={name}"));
    let mut pods: Vec<Pod> = cluster.list(Some(&namespace), &params).await?;
    pods.sort_by(|one, other| {
        let created = |pod: &Pod| pod.metadata.creation_timestamp.clone().map(|time| time.0);
        created(other).cmp(&created(one))
    });
    let mut found = FoundClaims {
        of: format!("job {namespace}/{name}"),
        ..FoundClaims::default()
    };
    if pods.is_empty() {
        let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
        let said = conditions.into_iter().flatten().map(|condition| {
            let reason = condition.reason.as_deref().unwrap_or_default();
            format!("{}: {}", reason, condition.message.as_deref().unwrap_or_default())
        });
        let said: Vec<String> = said.collect();
        let said = if said.is_empty() {
            String::new()
        } else {
            format!(" ({})", said.join("; "))
        };
        found.notes.push(format!(
            "job {namespace}/{name} has no pod, so nothing is requested{said}: kubectl describe job {name} -n {namespace} says \
             why its pods are refused, and kubectl privacy dry-run -f FILE what would become of them"
        ));
        found.waits = true;
    }
    if pods.len() > MOST_PODS {
        found.notes.push(format!(
            "job {namespace}/{name} has {} pods, of which the last {MOST_PODS} are explained",
            pods.len()
        ));
    }
    for pod in pods.iter().take(MOST_PODS) {
        let of_pod = of_pod(cluster, pod).await?;
        found.notes.extend(of_pod.notes);
        found.claims.extend(of_pod.claims);
        found.waits |= of_pod.waits;
    }
    // Pods that name the same claim share it.
    let mut seen = std::collections::BTreeSet::new();
    found.claims.retain(|claim| seen.insert(claim.subject.id()));
    Ok(found)
}

/// A subject for people: `pod data/train`.
pub(super) fn shown(subject: &Subject) -> String {
    let kind = match subject.kind {
        SubjectKind::Pod => "pod",
        SubjectKind::Claim => "claim",
    };
    format!("{kind} {}/{}", subject.namespace, subject.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_names_with_or_without_a_kind() {
        for (text, kind) in [
            ("train", None),
            ("po/train", Some(Kind::Pod)),
            ("Jobs.batch/train", Some(Kind::Job)),
            ("pbc/train", Some(Kind::Claim)),
        ] {
            let name = "train".to_owned();
            assert_eq!(Reference::parse(text), Ok(Reference { kind, name }));
        }
        for wrong in ["deploy/train", "pod/", "pod/a/b", "Train"] {
            assert!(Reference::parse(wrong).is_err(), "{wrong}");
        }
    }
}
