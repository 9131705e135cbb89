//! The managed pods that exist, and which of them wait for which claim object.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::api::core::v1::Pod;
use papaya::HashMap as ConcurrentMap;
use privatekube_api::{
    ANNOTATION_CLAIM, ANNOTATION_DATASET, ANNOTATION_GRANT, DatasetKey, FieldErrors, PodRequest, pod_request,
};

/// A pod's namespace and name.
pub type PodKey = (String, String);

/// The managed pods.
#[derive(Debug, Default)]
pub struct Pods {
    by_name: ConcurrentMap<PodKey, Arc<Pod>>,
    /// Pods by the claim object, as (namespace, name), that they name in their annotation.
    sharing: Mutex<HashMap<(String, String), BTreeSet<String>>>,
}

/// A pod's namespace and name.
pub fn key_of(pod: &Pod) -> PodKey {
    (
        pod.metadata.namespace.clone().unwrap_or_default(),
        pod.metadata.name.clone().unwrap_or_default(),
    )
}

/// How a pod asks, as far as that is told without understanding what it asks: that was done at its admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asks {
    /// By its own annotations, of this dataset.
    Itself(DatasetKey),
    /// By claim objects with these names.
    ByClaims(Vec<String>),
}

/// How a pod asks. The error says why it can't be told.
pub fn asks_of(pod: &Pod) -> Result<Asks, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let annotation = |name: &str| pod.metadata.annotations.as_ref()?.get(name);
    if let Some(claims) = annotation(ANNOTATION_CLAIM) {
        let only = [(ANNOTATION_CLAIM.to_owned(), claims.clone())].into();
        return match pod_request(&only, namespace) {
            Ok(Some(PodRequest::Claims(names))) => Ok(Asks::ByClaims(names)),
            Ok(_) => Err(format!("annotation {ANNOTATION_CLAIM} names no claim")),
            Err(errors) => Err(errors.to_string()),
        };
    }
    let Some(dataset) = annotation(ANNOTATION_DATASET) else {
        return Err(format!(
            "it has neither annotation {ANNOTATION_DATASET} nor {ANNOTATION_CLAIM}"
        ));
    };
    DatasetKey::parse(dataset, namespace)
        .map(Asks::Itself)
        .map_err(|error| format!("annotation {ANNOTATION_DATASET}: {error}"))
}

/// A pod's annotations without what the system wrote there when it was bound.
pub fn written_annotations(pod: &Pod) -> BTreeMap<String, String> {
    let mut annotations = pod.metadata.annotations.clone().unwrap_or_default();
    annotations.remove(ANNOTATION_GRANT);
    annotations
}

/// What a pod asks in its annotations.
pub fn request_of(pod: &Pod) -> Result<Option<PodRequest>, FieldErrors> {
    let annotations = written_annotations(pod);
    pod_request(
        &annotations,
        pod.metadata.namespace.as_deref().unwrap_or_default(),
    )
}

impl Pods {
    /// The pod of that name.
    pub fn get(&self, key: &PodKey) -> Option<Arc<Pod>> {
        self.by_name.pin().get(key).cloned()
    }

    /// A pod as it is now; what was there under its name before is returned.
    pub fn put(&self, pod: Arc<Pod>) -> Option<Arc<Pod>> {
        let key = key_of(&pod);
        self.share(&pod, |pods, name| {
            pods.insert(name);
        });
        let pods = self.by_name.pin();
        let before = pods.get(&key).cloned();
        pods.insert(key, pod);
        before
    }

    /// Forgets a pod, if the one of that name still is the one.
    pub fn remove(&self, pod: &Pod) {
        let key = key_of(pod);
        let pods = self.by_name.pin();
        if pods
            .get(&key)
            .is_some_and(|there| there.metadata.uid == pod.metadata.uid)
        {
            pods.remove(&key);
            self.share(pod, |pods, name| {
                pods.remove(&name);
            });
        }
    }

    /// Every pod.
    pub fn all(&self) -> Vec<Arc<Pod>> {
        self.by_name.pin().values().cloned().collect()
    }

    /// The pods that name a claim object.
    pub fn sharing(&self, namespace: &str, claim: &str) -> Vec<PodKey> {
        let sharing = self.sharing.lock().unwrap_or_else(PoisonError::into_inner);
        let pods = sharing.get(&(namespace.to_owned(), claim.to_owned()));
        pods.into_iter()
            .flatten()
            .map(|pod| (namespace.to_owned(), pod.clone()))
            .collect()
    }

    fn share(&self, pod: &Pod, change: impl Fn(&mut BTreeSet<String>, String)) {
        let (namespace, name) = key_of(pod);
        if let Ok(Asks::ByClaims(claims)) = asks_of(pod) {
            let mut sharing = self.sharing.lock().unwrap_or_else(PoisonError::into_inner);
            for claim in claims {
                let pods = sharing.entry((namespace.clone(), claim.clone())).or_default();
                change(pods, name.clone());
                if pods.is_empty() {
                    sharing.remove(&(namespace.clone(), claim));
                }
            }
        }
    }
}
