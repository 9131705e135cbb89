//! The objects of one kind that exist, as far as a watch has delivered them. They are handed to a [`Follower`] in order, and kept in
//! few bytes, since there may be a hundred thousand.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
    marker::PhantomData,
};

use kube::Resource;
use privatekube_api::DatasetKey;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::task::yield_now;
use tracing::warn;

use super::follow::Follower;
#[cfg(test)]
use crate::tests::world::planted::{self, Planted};

/// How many listed objects are handed to the follower before other tasks have their turn.
const HANDED_AT_ONCE: usize = 256;

/// The objects that exist, and the follower that they are handed to.
pub(super) struct KnownObjects<K, F> {
    follower: F,
    known: HashMap<Key, Kept>,
    /// What the list that goes on has, besides objects that are known and unchanged.
    listing: Vec<(Key, Kept)>,
    /// The number of that list.
    list: u32,
    hasher: RandomState,
    kind: PhantomData<fn(K)>,
}

/// An object's namespace and name, with a `/` between them.
type Key = Box<str>;

/// An object that exists. It is kept as JSON, which takes a fraction of what the object's type takes in memory.
struct Kept {
    /// When it was created, in seconds since the Unix epoch: the API server stores no more.
    created: i64,
    /// The hash of the object as it arrived, trimmed.
    hash: u64,
    /// The last list that had it.
    list: u32,
    json: Box<[u8]>,
}

impl<K, F> KnownObjects<K, F>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Serialize,
    F: Follower<K>,
{
    pub(super) fn new(follower: F) -> Self {
        Self {
            follower,
            known: HashMap::new(),
            listing: Vec::new(),
            list: 0,
            hasher: RandomState::new(),
            kind: PhantomData,
        }
    }

    /// Requests budget again for all objects, in the order of their creation.
    pub(super) fn request_again(&mut self, dataset: Option<&DatasetKey>) {
        let mut objects: Vec<(&Key, &Kept)> = self.known.iter().collect();
        objects.sort_by_key(|(key, object)| (object.created, *key));
        for object in objects.into_iter().filter_map(|(_, object)| object.object()) {
            self.follower.request_again(&object, dataset);
        }
    }

    /// An object exists, or was changed.
    pub(super) fn applied(&mut self, object: K) {
        let object = trimmed::<K, F>(object);
        let kept = self.kept(&object);
        self.replace(key(&object), kept, object);
    }

    /// An object was deleted.
    pub(super) fn deleted(&mut self, object: K) {
        self.known.remove(&key(&object));
        self.follower.deleted(trimmed::<K, F>(object), true);
    }

    /// A list begins. One that didn't end is forgotten.
    pub(super) fn list_begins(&mut self) {
        self.listing = Vec::new();
        self.list = self.list.wrapping_add(1);
    }

    /// A list has an object. One that is known and unchanged is handed over at once, and takes no more memory.
    pub(super) fn listed(&mut self, object: K) {
        let object = trimmed::<K, F>(object);
        let (key, kept) = (key(&object), self.kept(&object));
        match self.known.get_mut(&key) {
            Some(known) if known.hash == kept.hash => {
                known.list = self.list;
                self.follower.applied(object);
            }
            _ => self.listing.push((key, kept)),
        }
    }

    /// A list has ended: hands its other objects to the follower in the order of their creation, and then the deletion of those
    /// that it didn't have.
    pub(super) async fn list_ended(&mut self) {
        let mut listing = std::mem::take(&mut self.listing);
        // The API server lists objects by name.
        listing.sort_by_key(|(_, object)| object.created);
        for (handed, (key, kept)) in listing.into_iter().enumerate() {
            // There may be a hundred thousand, and others wait for this thread.
            if handed % HANDED_AT_ONCE == 0 {
                yield_now().await;
            }
            if let Some(object) = kept.object() {
                self.replace(key, kept, object);
            }
        }
        for object in self.take_gone() {
            self.follower.deleted(object, false);
        }
    }

    fn replace(&mut self, key: Key, kept: Kept, object: K) {
        let kept = kept.slimmed::<K, F>(&object);
        let before = self.known.insert(key, kept);
        let other = before.and_then(|before| before.other_than(&object));
        if let Some(other) = other {
            self.follower.deleted(other, false);
        }
        self.follower.applied(object);
    }

    /// Removes the objects that the last list didn't have, and returns them in an order that doesn't depend on the map.
    fn take_gone(&mut self) -> Vec<K> {
        let list = self.list;
        let mut gone: Vec<(Key, Kept)> = self.known.extract_if(|_, object| object.list != list).collect();
        #[cfg(test)]
        if planted::is(Planted::WatchesForget) {
            return Vec::new();
        }
        gone.sort_by(|one, other| one.0.cmp(&other.0));
        gone.iter().filter_map(|(_, object)| object.object()).collect()
    }

    fn kept(&self, object: &K) -> Kept {
        let json = json(object);
        let created = object.meta().creation_timestamp.as_ref();
        Kept {
            created: created.map_or(i64::MIN, |time| time.0.as_second()),
            hash: self.hasher.hash_one(&json),
            list: self.list,
            json,
        }
    }
}

impl Kept {
    /// Without what the follower reads only once. If that is nothing, no other memory is taken: after a list, what is returned and
    /// what is taken lie between each other, and would add up.
    fn slimmed<K, F>(self, object: &K) -> Self
    where
        K: Resource<DynamicType = ()> + Serialize,
        F: Follower<K>,
    {
        match F::slim(object) {
            Some(slim) => Self {
                json: json(&slim),
                ..self
            },
            None => self,
        }
    }

    /// The object that is kept, if `object` is another one of the same name.
    fn other_than<K: Resource<DynamicType = ()> + DeserializeOwned>(&self, object: &K) -> Option<K> {
        #[derive(Deserialize)]
        struct Meta {
            uid: Option<String>,
        }
        #[derive(Deserialize)]
        struct Object {
            metadata: Meta,
        }
        let kept: Option<Object> = read::<K, _>(&self.json);
        kept.filter(|kept| kept.metadata.uid != object.meta().uid)
            .and_then(|_| self.object())
    }

    fn object<K: Resource<DynamicType = ()> + DeserializeOwned>(&self) -> Option<K> {
        read::<K, _>(&self.json)
    }
}

/// How the JSON of each object of a kind begins, a sixth of what is left of a claim. It isn't kept.
fn beginning<K: Resource<DynamicType = ()>>() -> String {
    format!(
        r#"{{"apiVersion":"{}","kind":"{}","#,
        K::api_version(&()),
        K::kind(&())
    )
}

fn json<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Box<[u8]> {
    let json = serde_json::to_vec(object).unwrap_or_else(|error| {
        warn!(kind = %K::kind(&()), %error, "an object can't be kept");
        Vec::new()
    });
    let rest = json.strip_prefix(beginning::<K>().as_bytes());
    rest.unwrap_or(&json).into()
}

/// Reads something of what [`json`] has made of an object of kind `K`.
fn read<K: Resource<DynamicType = ()>, T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    let mut whole = Vec::new();
    if !json.starts_with(b"{") {
        whole = beginning::<K>().into_bytes();
    }
    whole.extend_from_slice(json);
    serde_json::from_slice(&whole)
        .inspect_err(|error| warn!(kind = %K::kind(&()), %error, "an object that was kept can't be read"))
        .ok()
}

/// An object without what nobody reads.
pub(super) fn trimmed<K: Resource, F: Follower<K>>(mut object: K) -> K {
    let meta = object.meta_mut();
    (meta.managed_fields, meta.resource_version) = (None, None);
    F::trim(&mut object);
    object
}

/// How many bytes are kept of an object, and what they are read as.
#[cfg(test)]
pub(super) fn kept<K, F>(object: K) -> (usize, K)
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
    F: Follower<K>,
{
    let json = json(&F::slim(&object).unwrap_or(object));
    (json.len(), read::<K, K>(&json).expect("what was kept is read"))
}

fn key<K: Resource>(object: &K) -> Key {
    let meta = object.meta();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let name = meta.name.as_deref().unwrap_or_default();
    format!("{namespace}/{name}").into()
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt as _;
    use privatekube_api::PrivacyBudgetClaim;
    use serde_json::json;

    use super::*;
    use crate::testing::{claim_object, epsilon};

    /// Writes down what it is told.
    #[derive(Default)]
    struct Recorder(Vec<String>);

    impl Follower<PrivacyBudgetClaim> for Recorder {
        fn trim(_: &mut PrivacyBudgetClaim) {}

        fn slim(object: &PrivacyBudgetClaim) -> Option<PrivacyBudgetClaim> {
            let mut slim = object.clone();
            slim.meta_mut().annotations.take().map(|_| slim)
        }

        fn applied(&mut self, object: PrivacyBudgetClaim) {
            let annotations = object.annotations().len();
            self.0.push(format!("{} with {annotations}", object.name_any()));
        }

        fn deleted(&mut self, last: PrivacyBudgetClaim, is_final: bool) {
            let uid = last.uid().unwrap_or_default();
            self.0.push(format!(
                "{uid} deleted, final: {is_final}, annotations: {}",
                last.annotations().len()
            ));
        }
    }

    type Claims = KnownObjects<PrivacyBudgetClaim, Recorder>;

    /// An object whose UID is its name, created at a second, with a note.
    fn object(name: &str, created: i64, note: &str) -> PrivacyBudgetClaim {
        let mut object = claim_object(name, &json!({"budget": epsilon("1")}));
        let meta = object.meta_mut();
        meta.uid = Some(name.to_owned());
        meta.creation_timestamp =
            serde_json::from_value(json!(format!("2026-01-01T00:00:{created:02}Z"))).unwrap();
        meta.annotations = Some([("note".to_owned(), note.to_owned())].into());
        object
    }

    async fn list(claims: &mut Claims, objects: Vec<PrivacyBudgetClaim>) -> (usize, Vec<String>) {
        claims.list_begins();
        for object in objects {
            claims.listed(object);
        }
        let held = claims.listing.len();
        claims.list_ended().await;
        (held, std::mem::take(&mut claims.follower.0))
    }

    #[tokio::test]
    async fn a_list_is_handed_over_in_order_and_unchanged_objects_are_not_held_again() {
        let mut claims = Claims::new(Recorder::default());
        let first = vec![object("a", 2, ""), object("b", 1, ""), object("c", 3, "")];
        let (held, told) = list(&mut claims, first.clone()).await;
        assert_eq!(
            (held, told),
            (3, ["b", "a", "c"].map(|name| format!("{name} with 1")).into())
        );

        // A list that is given up leaves nothing behind.
        claims.list_begins();
        claims.listed(object("d", 4, ""));
        let (held, told) = list(&mut claims, first).await;
        assert_eq!(
            (held, told),
            (0, ["a", "b", "c"].map(|name| format!("{name} with 1")).into())
        );

        // One is as before, one was changed, one was made again, one is new, and one is gone.
        let mut again = object("b", 5, "");
        again.meta_mut().uid = Some("another".to_owned());
        let second = vec![object("a", 2, ""), again, object("d", 4, "")];
        let (held, told) = list(&mut claims, second).await;
        let expected = [
            "a with 1",
            "d with 1",
            "b deleted, final: false, annotations: 0",
            "b with 1",
            "c deleted, final: false, annotations: 0",
        ];
        assert_eq!(held, 2);
        assert_eq!(told, expected);
        let (held, told) = list(&mut claims, vec![object("a", 2, "changed")]).await;
        let expected = [
            "a with 1",
            "another deleted, final: false, annotations: 0",
            "d deleted, final: false, annotations: 0",
        ];
        assert_eq!(held, 1);
        assert_eq!(told, expected);
        claims.deleted(object("a", 2, "changed"));
        assert_eq!(claims.follower.0, ["a deleted, final: true, annotations: 1"]);
        assert!(claims.known.is_empty());
    }
}
