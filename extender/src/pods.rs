//! The managed pods that exist, and which of them wait for which claim object.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::api::core::v1::Pod;
use papaya::HashMap as ConcurrentMap;
use privatekube_api::{ANNOTATION_GRANT, FieldErrors, PodRequest, pod_request};

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

/// What a pod asks in its annotations. What the system wrote there when it was bound is no part of it.
pub fn request_of(pod: &Pod) -> Result<Option<PodRequest>, FieldErrors> {
    let mut annotations = pod.metadata.annotations.clone().unwrap_or_default();
    annotations.remove(ANNOTATION_GRANT);
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
        if let Ok(Some(PodRequest::Claims(claims))) = request_of(pod) {
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
