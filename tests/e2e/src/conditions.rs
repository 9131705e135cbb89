//! Waiting for what the cluster shows: phases, statuses, Events, and the scheduler's conditions.

use std::{fmt::Debug, time::Duration};

use anyhow::{Context, Result, bail};
use futures::{TryStreamExt, pin_mut};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Resource,
    core::NamespaceResourceScope,
    runtime::{WatchStreamExt, watcher},
};
use privatekube_api::{ClaimPhase, PrivacyBudgetClaim, PrivateDataBlock};
use privatekube_cluster::Part;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::{TestEnvironment, pod_claim_name};

/// The longest wait for any condition. A condition that holds is noticed at once; this only ends a wait in
/// vain.
const TIMEOUT: Duration = Duration::from_secs(90);

impl TestEnvironment {
    /// Waits until `holds` is true of an object (None: it doesn't exist), and returns it. `what` describes
    /// the condition in the error.
    pub async fn wait<K>(
        &self,
        namespace: &str,
        name: &str,
        what: &str,
        holds: impl Fn(Option<&K>) -> bool + Send,
    ) -> Result<Option<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
    {
        let mut last: Option<K> = None;
        let seen = async {
            let stream = watcher::watch_object(self.api::<K>(namespace), name).default_backoff();
            pin_mut!(stream);
            while let Some(object) = stream.try_next().await? {
                last = object;
                if holds(last.as_ref()) {
                    return Ok::<bool, watcher::Error>(true);
                }
            }
            Ok(false)
        };
        match timeout(TIMEOUT, seen).await {
            Ok(Ok(true)) => Ok(last),
            Ok(Ok(false)) => bail!("the watch on {namespace}/{name} ended"),
            Ok(Err(error)) => Err(error).with_context(|| format!("watch {namespace}/{name}")),
            Err(_) => bail!(
                "{} {namespace}/{name} never was {what}; last seen: {last:#?}\nextender:\n{}",
                K::kind(&()),
                self.cluster.tail(Part::Extender)
            ),
        }
    }

    /// Waits until a pod is in a phase.
    pub async fn wait_for_pod_phase(&self, namespace: &str, name: &str, phase: &str) -> Result<Pod> {
        let pod = self
            .wait(namespace, name, phase, |pod: Option<&Pod>| {
                pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref()) == Some(phase)
            })
            .await?;
        pod.context("no pod")
    }

    /// Waits until a claim object is in a phase.
    pub async fn wait_for_claim_phase(
        &self,
        namespace: &str,
        name: &str,
        phase: ClaimPhase,
    ) -> Result<PrivacyBudgetClaim> {
        let claim = self
            .wait(
                namespace,
                name,
                &phase.to_string(),
                |claim: Option<&PrivacyBudgetClaim>| {
                    claim.and_then(|claim| claim.status.as_ref()?.phase) == Some(phase)
                },
            )
            .await?;
        claim.context("no claim")
    }

    /// Waits until the claim object made for a pod is in a phase.
    pub async fn wait_for_pod_claim_phase(
        &self,
        namespace: &str,
        pod: &str,
        phase: ClaimPhase,
    ) -> Result<PrivacyBudgetClaim> {
        let pod: Pod = self.api(namespace).get(pod).await?;
        self.wait_for_claim_phase(namespace, &pod_claim_name(&pod), phase)
            .await
    }

    /// Waits until a block's status shows these epsilons as (available, allocated, consumed).
    pub async fn wait_for_block_budget(
        &self,
        namespace: &str,
        name: &str,
        expected: (&str, &str, &str),
    ) -> Result<()> {
        self.wait(
            namespace,
            name,
            &format!("{expected:?}"),
            |block: Option<&PrivateDataBlock>| {
                let Some(status) = block.and_then(|block| block.status.as_ref()) else {
                    return false;
                };
                let of = |amounts: &Option<privatekube_api::Amounts>| {
                    amounts
                        .as_ref()
                        .map(|amounts| amounts.epsilon.clone())
                        .unwrap_or_default()
                };
                let seen = (of(&status.available), of(&status.allocated), of(&status.consumed));
                (seen.0.as_str(), seen.1.as_str(), seen.2.as_str()) == expected
            },
        )
        .await?;
        Ok(())
    }

    /// Waits until an object has an Event with this reason, and returns the Event's message.
    pub async fn wait_for_event(&self, namespace: &str, object: &str, reason: &str) -> Result<String> {
        let params =
            watcher::Config::default().fields(&format!("involvedObject.name={object},reason={reason}"));
        let found = async {
            let stream = watcher(self.api::<Event>(namespace), params)
                .default_backoff()
                .applied_objects();
            pin_mut!(stream);
            stream.try_next().await
        };
        match timeout(TIMEOUT, found).await {
            Ok(found) => Ok(found?.and_then(|event| event.message).unwrap_or_default()),
            Err(_) => bail!(
                "no Event {reason} on {namespace}/{object}\n{}",
                self.cluster.tail(Part::Extender)
            ),
        }
    }

    /// Waits until an object of this kind has an Event whose message contains `text`, and returns the Event's
    /// reason.
    pub async fn wait_for_event_containing(
        &self,
        namespace: &str,
        kind: &str,
        name: &str,
        text: &str,
    ) -> Result<String> {
        let fields = format!("involvedObject.kind={kind},involvedObject.name={name}");
        let params = watcher::Config::default().fields(&fields);
        let mut others = Vec::new();
        let found = async {
            let stream = watcher(self.api::<Event>(namespace), params)
                .default_backoff()
                .applied_objects();
            pin_mut!(stream);
            while let Some(event) = stream.try_next().await? {
                let message = event.message.unwrap_or_default();
                if message.contains(text) {
                    return Ok::<_, watcher::Error>(event.reason.unwrap_or_default());
                }
                others.push(message);
            }
            Ok(String::new())
        };
        match timeout(TIMEOUT, found).await {
            Ok(reason) => Ok(reason?),
            Err(_) => bail!("{kind} {namespace}/{name} has no Event that contains {text:?}, but {others:#?}"),
        }
    }

    /// Waits until the scheduler reports a pod as unschedulable with a message that contains `words`.
    pub async fn wait_until_unschedulable(&self, namespace: &str, name: &str, words: &str) -> Result<Pod> {
        let reported = |pod: &Pod| {
            let conditions = pod.status.as_ref()?.conditions.as_ref()?;
            let scheduled = conditions
                .iter()
                .find(|condition| condition.type_ == "PodScheduled")?;
            let fits_nowhere =
                scheduled.status == "False" && scheduled.reason.as_deref() == Some("Unschedulable");
            Some(fits_nowhere && scheduled.message.as_ref()?.contains(words))
        };
        let what = format!("unschedulable, saying {words:?}");
        let pod = self
            .wait(namespace, name, &what, |pod: Option<&Pod>| {
                pod.and_then(reported) == Some(true)
            })
            .await?;
        pod.context("no pod")
    }
}
