//! The managed pods that exist, and which of them name which claim object.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Pod;
use papaya::HashMap as ConcurrentMap;
use parking_lot::Mutex;
use privatekube_api::{ManagedPod, PodKey};
use privatekube_view::PhaseReason;

/// The managed pods, each read once for every change. Reading one takes no lock.
#[derive(Debug, Default)]
pub struct Pods {
    by_key: ConcurrentMap<PodKey, Arc<ManagedPod>>,
    /// The names of pods by the claim object, as (namespace, name), that they name in their annotation.
    naming: Mutex<HashMap<(String, String), BTreeSet<String>>>,
    /// Why the own claims of pods were denied, as the statuses of their claim objects say, by the UIDs of the pods.
    denied: ConcurrentMap<String, PhaseReason>,
    /// The pods that have had no Event yet about the claim objects that they name, because not all claim objects were listed when
    /// the pod came.
    unannounced: Mutex<BTreeSet<PodKey>>,
}

impl Pods {
    /// The pod with a namespace and name.
    pub fn get(&self, key: &PodKey) -> Option<Arc<ManagedPod>> {
        self.by_key.pin().get(key).cloned()
    }

    /// Reads a pod as it is now and keeps it. Returns it, and the pod that was kept under its name before.
    pub fn apply(&self, pod: &Pod) -> (Arc<ManagedPod>, Option<Arc<ManagedPod>>) {
        let before = self.get(&PodKey::of(pod));
        let pod = Arc::new(ManagedPod::read(pod, before.as_deref()));
        if let Some(before) = &before {
            self.change_naming(before, |pods, name| {
                pods.remove(&name);
            });
        }
        self.change_naming(&pod, |pods, name| {
            pods.insert(name);
        });
        self.by_key.pin().insert(pod.key.clone(), Arc::clone(&pod));
        (pod, before)
    }

    /// Forgets a deleted pod, unless another one was created under its name since.
    pub fn delete(&self, key: &PodKey, uid: &str) {
        let pods = self.by_key.pin();
        if let Some(pod) = pods.get(key).filter(|pod| pod.uid == uid) {
            self.change_naming(pod, |pods, name| {
                pods.remove(&name);
            });
            pods.remove(key);
            self.unannounced.lock().remove(key);
        }
    }

    /// Why a pod's own claim was denied, if its claim object's status says so.
    pub fn denied(&self, uid: &str) -> Option<PhaseReason> {
        self.denied.pin().get(uid).cloned()
    }

    /// Sets why a pod's own claim was denied.
    pub fn set_denied(&self, uid: &str, why: PhaseReason) {
        self.denied.pin().insert(uid.to_owned(), why);
    }

    /// Forgets why a pod's own claim was denied: its claim object was deleted.
    pub fn forget_denied(&self, uid: &str) {
        self.denied.pin().remove(uid);
    }

    /// Remembers that a pod needs an Event about the claim objects that it names, once all are listed.
    pub fn add_unannounced(&self, key: PodKey) {
        self.unannounced.lock().insert(key);
    }

    /// Takes the pods that need such an Event.
    pub fn take_unannounced(&self) -> BTreeSet<PodKey> {
        std::mem::take(&mut self.unannounced.lock())
    }

    /// Every pod.
    pub fn all(&self) -> Vec<Arc<ManagedPod>> {
        self.by_key.pin().values().cloned().collect()
    }

    /// The pods that name a claim object.
    pub fn naming(&self, namespace: &str, claim: &str) -> Vec<PodKey> {
        let naming = self.naming.lock();
        let pods = naming.get(&(namespace.to_owned(), claim.to_owned()));
        pods.into_iter()
            .flatten()
            .map(|pod| PodKey {
                namespace: namespace.to_owned(),
                name: pod.clone(),
            })
            .collect()
    }

    fn change_naming(&self, pod: &ManagedPod, change: impl Fn(&mut BTreeSet<String>, String)) {
        if pod.named_claims().is_empty() {
            return;
        }
        let mut naming = self.naming.lock();
        for claim in pod.named_claims() {
            let key = (pod.key.namespace.clone(), claim.clone());
            let pods = naming.entry(key.clone()).or_default();
            change(pods, pod.key.name.clone());
            if pods.is_empty() {
                naming.remove(&key);
            }
        }
    }
}
