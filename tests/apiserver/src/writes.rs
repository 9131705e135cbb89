//! The rules of each kind of write: what it requires, what it may change, and what the server sets itself.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    answer::Refusal,
    request::{Key, Request, Target},
    store::Store,
};

/// How long a pod that has a node may take to end, unless it or the request says otherwise.
const GRACE_SECONDS: u64 = 30;
/// What only the server sets.
const SERVER_SIDE: [&str; 7] = [
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// The part of an object that a write may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything but the status.
    Object,
    Status,
}

/// Creates an object, without a status.
pub(crate) fn create(store: &mut Store, target: &Target, mut object: Value) -> Result<Value, Refusal> {
    if !object.is_object() {
        return Err(Refusal::new(400, "the body is no object"));
    }
    let metadata = &mut object["metadata"];
    if metadata["name"].as_str().unwrap_or_default().is_empty() {
        let prefix = metadata["generateName"]
            .as_str()
            .ok_or_else(|| Refusal::new(422, "metadata.name: name or generateName is required"))?;
        metadata["name"] = json!(format!("{prefix}{:05}", store.version() + 1));
    }
    if !text(metadata, "resourceVersion").is_empty() {
        return Err(Refusal::new(
            400,
            "resourceVersion should not be set on objects to be created",
        ));
    }
    let key = target.key(text(metadata, "name"));
    set_namespace(metadata, &key)?;
    if is_being_deleted(store, &key.namespace) {
        return Err(Refusal::new(
            403,
            format!("namespace {} is being terminated", key.namespace),
        ));
    }
    if store.get(&key).is_some() {
        return Err(Refusal::already_exists(&key.resource, &key.name));
    }
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    complete(&mut object, store);
    Ok(store.write(key, object))
}

/// Creates an object as it is, or replaces all of it. One with another UID replaces it as a deletion and a
/// creation would.
pub(crate) fn put(store: &mut Store, key: Key, mut object: Value) {
    let before = store.get(&key).map(|before| before["metadata"].clone());
    let metadata = &mut object["metadata"];
    if let Some(before) = before {
        if metadata["uid"].is_null() || metadata["uid"] == before["uid"] {
            for field in ["uid", "creationTimestamp", "generation"] {
                if metadata[field].is_null() {
                    metadata[field] = before[field].clone();
                }
            }
        } else {
            store.remove(&key);
        }
    }
    complete(&mut object, store);
    store.write(key, object);
}

/// Sets what every stored object has.
fn complete(object: &mut Value, store: &Store) {
    let number = store.version() + 1;
    let metadata = &mut object["metadata"];
    let missing = [
        ("uid", json!(format!("00000000-0000-4000-8000-{number:012}"))),
        ("creationTimestamp", now(store)),
        ("generation", json!(1)),
    ];
    for (field, value) in missing {
        if metadata[field].is_null() {
            metadata[field] = value;
        }
    }
}

/// Replaces an object or its status.
pub(crate) fn replace(store: &mut Store, key: &Key, part: Part, new: Value) -> Result<Value, Refusal> {
    update(store, key, part, |object| {
        *object = new;
        Ok(())
    })
}

/// Patches an object or its status, with a merge patch or a JSON patch.
pub(crate) fn patch(store: &mut Store, key: &Key, part: Part, request: &Request) -> Result<Value, Refusal> {
    match request.content_type.as_str() {
        "application/merge-patch+json" => update(store, key, part, |object| {
            json_patch::merge(object, &request.body);
            Ok(())
        }),
        "application/json-patch+json" => {
            let patch: json_patch::Patch = serde_json::from_value(request.body.clone())
                .map_err(|error| Refusal::new(400, error.to_string()))?;
            update(store, key, part, |object| {
                json_patch::patch(object, &patch).map_err(|error| Refusal::new(422, error.to_string()))
            })
        }
        other => Err(Refusal::new(
            415,
            format!("patches of type {other} are not served"),
        )),
    }
}

/// Changes a part of an object, if it still is the one that the change is meant for.
fn update(
    store: &mut Store,
    key: &Key,
    part: Part,
    change: impl FnOnce(&mut Value) -> Result<(), Refusal>,
) -> Result<Value, Refusal> {
    let before = existing(store, key)?.clone();
    let mut changed = before.clone();
    change(&mut changed)?;
    if !changed["metadata"].is_object() {
        return Err(Refusal::new(400, "the object has no metadata"));
    }
    check_preconditions(key, &before["metadata"], &changed["metadata"])?;
    let mut after = match part {
        Part::Status => with_field(before.clone(), "status", &changed),
        Part::Object => with_field(changed, "status", &before),
    };
    for field in SERVER_SIDE.iter().chain(&["resourceVersion"]) {
        let kept = with_field(after["metadata"].take(), field, &before["metadata"]);
        after["metadata"] = kept;
    }
    if after == before {
        return Ok(before);
    }
    if without_metadata_and_status(&after) != without_metadata_and_status(&before) {
        let generation = before["metadata"]["generation"].as_u64().unwrap_or_default();
        after["metadata"]["generation"] = json!(generation + 1);
    }
    let only_finalizers_kept_it = !after["metadata"]["deletionTimestamp"].is_null()
        && after["metadata"]["deletionGracePeriodSeconds"] == 0
        && has_finalizers(&before);
    let after = store.write(key.clone(), after);
    if only_finalizers_kept_it && !has_finalizers(&after) {
        store.remove(key);
    }
    Ok(after)
}

/// Deletes an object: at once, or, when it has finalizers or is a pod on a node, by a mark. Returns the
/// object if it is marked.
pub(crate) fn delete(store: &mut Store, key: &Key, options: &Value) -> Result<Option<Value>, Refusal> {
    let object = existing(store, key)?;
    check_preconditions(key, &object["metadata"], &options["preconditions"])?;
    let grace = grace_seconds(key, object, options);
    if !has_finalizers(object) && grace == 0 {
        store.remove(key);
        return Ok(None);
    }
    let mut object = object.clone();
    let metadata = &mut object["metadata"];
    if metadata["deletionTimestamp"].is_null() {
        metadata["deletionTimestamp"] = now(store);
    } else if metadata["deletionGracePeriodSeconds"].as_u64() <= Some(grace) {
        return Ok(Some(object));
    }
    metadata["deletionGracePeriodSeconds"] = json!(grace);
    Ok(Some(store.write(key.clone(), object)))
}

fn grace_seconds(key: &Key, object: &Value, options: &Value) -> u64 {
    let has_node = !text(&object["spec"], "nodeName").is_empty();
    let has_ended = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if key.resource != "pods" || !has_node || has_ended {
        return 0;
    }
    let stated = options["gracePeriodSeconds"]
        .as_u64()
        .or_else(|| object["spec"]["terminationGracePeriodSeconds"].as_u64());
    stated.unwrap_or(GRACE_SECONDS)
}

/// Puts a pod on a node, with the Binding's annotations.
pub(crate) fn bind(store: &mut Store, key: &Key, binding: &Value) -> Result<(), Refusal> {
    let mut pod = existing(store, key)?.clone();
    check_preconditions(key, &pod["metadata"], &binding["metadata"])?;
    let conflict = |why: String| Refusal::new(409, format!("pod {} {why}", key.name));
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return Err(conflict(
            "is being deleted, cannot be assigned to a host".to_owned(),
        ));
    }
    let node = text(&pod["spec"], "nodeName");
    if !node.is_empty() {
        return Err(conflict(format!("is already assigned to node \"{node}\"")));
    }
    if pod["spec"]["schedulingGates"]
        .as_array()
        .is_some_and(|gates| !gates.is_empty())
    {
        return Err(conflict("has non-empty .spec.schedulingGates".to_owned()));
    }
    pod["spec"]["nodeName"] = binding["target"]["name"].clone();
    if let Some(annotations) = binding["metadata"]["annotations"].as_object() {
        for (name, value) in annotations {
            pod["metadata"]["annotations"][name] = value.clone();
        }
    }
    let condition = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now(store)});
    let mut conditions = pod["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    conditions.retain(|condition| condition["type"] != "PodScheduled");
    conditions.push(condition);
    pod["status"]["conditions"] = json!(conditions);
    store.write(key.clone(), pod);
    Ok(())
}

fn existing<'a>(store: &'a Store, key: &Key) -> Result<&'a Value, Refusal> {
    store
        .get(key)
        .ok_or_else(|| Refusal::not_found(&key.resource, &key.name))
}

/// Refuses a write that names another UID or resource version than the object has.
fn check_preconditions(key: &Key, metadata: &Value, wanted: &Value) -> Result<(), Refusal> {
    for field in ["uid", "resourceVersion"] {
        let (has, wants) = (text(metadata, field), text(wanted, field));
        if !wants.is_empty() && wants != has {
            return Err(Refusal::new(
                409,
                format!(
                    "Operation cannot be fulfilled on {} \"{}\": Precondition failed: {field} in precondition: \
                     {wants}, {field} in object meta: {has}",
                    key.resource, key.name
                ),
            ));
        }
    }
    Ok(())
}

/// Sets the namespace that the path names, unless the object names another.
fn set_namespace(metadata: &mut Value, key: &Key) -> Result<(), Refusal> {
    let stated = text(metadata, "namespace");
    if !stated.is_empty() && stated != key.namespace {
        return Err(Refusal::new(
            400,
            "the namespace of the object does not match the namespace of the request",
        ));
    }
    if !key.namespace.is_empty() {
        metadata["namespace"] = json!(key.namespace);
    }
    Ok(())
}

fn is_being_deleted(store: &Store, namespace: &str) -> bool {
    let key = Key {
        resource: "namespaces".into(),
        name: namespace.into(),
        ..Key::default()
    };
    store
        .get(&key)
        .is_some_and(|namespace| !namespace["metadata"]["deletionTimestamp"].is_null())
}

fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"]
        .as_array()
        .is_some_and(|finalizers| !finalizers.is_empty())
}

/// `object` with a field as it is in `source`, also if it is absent there.
fn with_field(mut object: Value, field: &str, source: &Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        match source.get(field) {
            Some(value) => fields.insert(field.to_owned(), value.clone()),
            None => fields.remove(field),
        };
    }
    object
}

fn without_metadata_and_status(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|name, _| name != "metadata" && name != "status");
    }
    object
}

/// A field's text; empty when it is absent.
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The time in whole seconds, as metadata has it.
pub(crate) fn now(store: &Store) -> Value {
    let now = (store.clock)();
    json!(Timestamp::from_second(now.as_second()).unwrap_or(now).to_string())
}
