//! Serves requests: logs them, applies faults, and dispatches by method and target.

use std::sync::Arc;

use axum::{
    Json,
    body::{Body, to_bytes},
    http::{Method, Request as HttpRequest, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use kube::client::Body as ClientBody;
use serde_json::{Value, json};
use tokio::time::sleep;
use tower::BoxError;

use crate::{
    answer::{Refusal, metadata_only, success},
    faults::Fault,
    request::{LoggedRequest, Request, Target},
    selector::Selector,
    server::{FakeApiServer, State},
    watch,
    writes::{self, Part, text},
};

/// Answers a request, or breaks the connection. A client that goes away meanwhile doesn't stop it, as with a
/// socket.
pub(crate) async fn answer(
    server: FakeApiServer,
    client: Arc<str>,
    request: HttpRequest<ClientBody>,
) -> Result<Response, BoxError> {
    tokio::spawn(answer_to_the_end(server, client, request)).await?
}

async fn answer_to_the_end(
    server: FakeApiServer,
    client: Arc<str>,
    request: HttpRequest<ClientBody>,
) -> Result<Response, BoxError> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(Body::new(body), usize::MAX).await?;
    let body = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&body)?
    };
    let logged = log_entry(&client, &parts, &body);
    let (number, fault, holding) = server.with(|state| {
        state.log.push(logged.clone());
        let holding = state.faults.holding(&logged);
        (
            state.cleared + state.log.len() - 1,
            state.faults.take(&logged),
            holding,
        )
    });
    for mut open in holding {
        // It only ever changes by its end.
        while open.changed().await.is_ok() {}
    }
    if let Some(Fault::Delay(time)) = fault {
        sleep(time).await;
    }
    if let Some(Fault::ServeLate(time)) = fault {
        // A task of its own, since the client hears at once that the connection broke.
        tokio::spawn(async move {
            sleep(time).await;
            let _ = serve(&server, &client, &parts, body, None);
        });
        return Err("the connection broke before the request was served".into());
    }
    if fault == Some(Fault::ServeTwice) {
        let _ = serve(&server, &client, &parts, body.clone(), None);
    }
    let response = match fault {
        Some(Fault::LoseRequest) => return Err("the connection broke before the request was served".into()),
        Some(Fault::Refuse(code)) => Refusal::new(code, "refused by the test").into_response(),
        _ => {
            serve(&server, &client, &parts, body, fault.as_ref()).unwrap_or_else(IntoResponse::into_response)
        }
    };
    match fault {
        Some(Fault::LoseReply) => return Err("the connection broke before the reply was sent".into()),
        Some(Fault::DelayReply(time)) => sleep(time).await,
        _ => {}
    }
    server.with(|state| {
        let index = number.checked_sub(state.cleared);
        // None when the log was cleared meanwhile.
        if let Some(request) = index.and_then(|index| state.log.get_mut(index)) {
            request.code = Some(response.status().as_u16());
        }
    });
    Ok(response)
}

fn log_entry(client: &str, parts: &Parts, body: &Value) -> LoggedRequest {
    let target = Target::parse(parts.uri.path()).unwrap_or_default();
    LoggedRequest {
        client: client.to_owned(),
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        resource: target.resource,
        subresource: target.subresource,
        body: body.clone(),
        code: None,
    }
}

fn serve(
    server: &FakeApiServer,
    client: &str,
    parts: &Parts,
    body: Value,
    fault: Option<&Fault>,
) -> Result<Response, Refusal> {
    let request = Request::parse(client, parts, body)?;
    if request.parameter("dryRun").is_some() {
        return Err(Refusal::new(400, "dry runs are not served"));
    }
    if request.method == Method::GET && request.is_set("watch") {
        return watch::begin(server, &request);
    }
    let (code, object) = server.with(|state| match fault {
        Some(Fault::Forget) => {
            let before = state.store.clone();
            let answer = dispatch(state, &request);
            state.store = before;
            answer
        }
        Some(Fault::Overwrite) if request.method == Method::POST => {
            let key = request.target.key(text(&request.body["metadata"], "name"));
            state.store.remove(&key);
            dispatch(state, &request)
        }
        _ => dispatch(state, &request),
    })?;
    let object = if request.metadata_only && object["kind"] != "Status" && object.get("items").is_none() {
        metadata_only(&object)
    } else {
        object
    };
    Ok((code, Json(object)).into_response())
}

fn dispatch(state: &mut State, request: &Request) -> Result<(StatusCode, Value), Refusal> {
    let Request {
        method, target, body, ..
    } = request;
    let store = &mut state.store;
    let Some(name) = &target.name else {
        return match *method {
            Method::GET => list(state, request).map(|list| (StatusCode::OK, list)),
            Method::POST if target.resource == "bindings" => {
                bind(state, target, text(&body["metadata"], "name"), body)
            }
            // Nothing is stored. Clients read the server's clock from it.
            Method::POST if target.resource == "selfsubjectreviews" => {
                let mut object = with_type(body.clone(), target);
                object["metadata"]["creationTimestamp"] = writes::now(store);
                Ok((StatusCode::CREATED, object))
            }
            Method::POST => {
                let object = with_type(body.clone(), target);
                if let Some(admission) = &mut state.admission {
                    let namespace = Target::of_namespace(target.namespace.as_deref());
                    admission(&target.resource, &object, store.get(&namespace))
                        .map_err(|why| Refusal::new(403, why))?;
                }
                writes::create(store, target, object).map(|object| (StatusCode::CREATED, object))
            }
            _ => Err(not_served(request)),
        };
    };
    let key = target.key(name);
    let part = match target.subresource.as_deref() {
        None => Part::Object,
        Some("status") => Part::Status,
        Some("binding") if target.resource == "pods" && *method == Method::POST => {
            return bind(state, target, name, body);
        }
        Some(_) => return Err(not_served(request)),
    };
    let object = match *method {
        Method::GET => store
            .get(&key)
            .cloned()
            .ok_or_else(|| Refusal::not_found(&key.resource, &key.name)),
        Method::PUT => writes::replace(store, &key, part, with_type(body.clone(), target)),
        Method::PATCH => writes::patch(store, &key, part, request),
        Method::DELETE if part == Part::Object => {
            writes::delete(store, &key, body).map(|marked| marked.unwrap_or_else(|| success(200)))
        }
        _ => Err(not_served(request)),
    };
    object.map(|object| (StatusCode::OK, object))
}

fn not_served(request: &Request) -> Refusal {
    let Target {
        resource,
        subresource,
        ..
    } = &request.target;
    let method = &request.method;
    Refusal::new(
        405,
        format!("{method} of {resource} {subresource:?} is not served"),
    )
}

/// An object as sent, with the API version of the path where it states none.
fn with_type(mut object: Value, target: &Target) -> Value {
    if object.is_object() && object["apiVersion"].is_null() {
        object["apiVersion"] = json!(target.api_version);
    }
    object
}

fn bind(
    state: &mut State,
    target: &Target,
    pod: &str,
    binding: &Value,
) -> Result<(StatusCode, Value), Refusal> {
    let pods = Target {
        resource: "pods".into(),
        ..target.clone()
    };
    writes::bind(&mut state.store, &pods.key(pod), binding)?;
    Ok((StatusCode::CREATED, success(201)))
}

/// A list, or a page of one. A page begins after the last object of the one before, among the objects as they
/// are now.
fn list(state: &State, request: &Request) -> Result<Value, Refusal> {
    let store = &state.store;
    let selector = Selector::of(request)?;
    let limit = request.number("limit")?.filter(|limit| *limit > 0);
    let limit = usize::try_from(limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let after = request.parameter("continue").map(read_token).transpose()?;
    if let Some((version, ..)) = after
        && store.is_expired(version)
    {
        return Err(Refusal::new(410, "the provided continue parameter is too old"));
    }
    let mut matching = store.select(&request.target, &selector).filter(|(key, _)| {
        after
            .as_ref()
            .is_none_or(|(_, namespace, name)| (&key.namespace, &key.name) > (namespace, name))
    });
    let page: Vec<_> = matching.by_ref().take(limit).collect();
    let mut metadata = json!({"resourceVersion": store.version().to_string()});
    let remaining = matching.count();
    if let (true, Some((last, _))) = (remaining > 0, page.last()) {
        metadata["continue"] = json!(format!("{}/{}/{}", store.version(), last.namespace, last.name));
        metadata["remainingItemCount"] = json!(remaining);
    }
    let kind = page
        .first()
        .map(|(_, object)| text(object, "kind"))
        .unwrap_or_default();
    let (api_version, kind) = if request.metadata_only {
        ("meta.k8s.io/v1", "PartialObjectMetadataList".to_owned())
    } else {
        (request.target.api_version.as_str(), format!("{kind}List"))
    };
    let items = page.into_iter().map(|(_, object)| {
        if request.metadata_only {
            metadata_only(object)
        } else {
            object.clone()
        }
    });
    let items: Vec<Value> = items.collect();
    Ok(json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "items": items}))
}

/// The resource version of the first page, and the namespace and name of the last object so far.
fn read_token(token: &str) -> Result<(u64, String, String), Refusal> {
    let parts: Vec<&str> = token.splitn(3, '/').collect();
    match parts.as_slice() {
        [version, namespace, name] if version.parse::<u64>().is_ok() => Ok((
            version.parse().unwrap_or_default(),
            (*namespace).to_owned(),
            (*name).to_owned(),
        )),
        _ => Err(Refusal::new(400, "continue key is not valid")),
    }
}
