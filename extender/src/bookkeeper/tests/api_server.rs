//! An API server that keeps the objects of one namespace, and knows of no namespace itself.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use kube::Client;
use serde_json::{Value, json};

use super::NAMESPACE;

/// Objects by resource and name.
type Objects = Arc<Mutex<BTreeMap<(String, String), Value>>>;

/// Keeps what is put there.
#[derive(Clone, Default)]
pub struct ApiServer(Objects);

impl ApiServer {
    pub fn client(&self) -> Client {
        let resources = format!("/apis/privatekube.dev/v1alpha1/namespaces/{NAMESPACE}/{{resource}}");
        let router = Router::new()
            .route(&resources, get(list).post(create))
            .route(&format!("{resources}/{{name}}"), get(read))
            .fallback(async || refusal(StatusCode::NOT_FOUND, "NotFound"))
            .with_state(self.clone());
        Client::new(router, NAMESPACE)
    }

    pub fn put(&self, resource: &str, object: &impl serde::Serialize) {
        let object = serde_json::to_value(object).unwrap();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.with(|objects| objects.insert((resource.to_owned(), name), object));
    }

    pub fn delete(&self, resource: &str, name: &str) {
        self.with(|objects| objects.remove(&(resource.to_owned(), name.to_owned())));
    }

    pub fn all(&self, of: &str) -> Vec<Value> {
        self.with(|objects| {
            let of = objects.iter().filter(|((resource, _), _)| resource == of);
            of.map(|(_, object)| object.clone()).collect()
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<(String, String), Value>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn list(State(server): State<ApiServer>, Path(resource): Path<String>) -> Response {
    Json(json!({"metadata": {}, "items": server.all(&resource)})).into_response()
}

async fn create(
    State(server): State<ApiServer>,
    Path(resource): Path<String>,
    Json(object): Json<Value>,
) -> Response {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let key = (resource, name.to_owned());
    if server.with(|objects| objects.contains_key(&key)) {
        return refusal(StatusCode::CONFLICT, "AlreadyExists");
    }
    server.with(|objects| objects.insert(key, object.clone()));
    (StatusCode::CREATED, Json(object)).into_response()
}

async fn read(State(server): State<ApiServer>, Path(key): Path<(String, String)>) -> Response {
    match server.with(|objects| objects.get(&key).cloned()) {
        Some(object) => Json(object).into_response(),
        None => refusal(StatusCode::NOT_FOUND, "NotFound"),
    }
}

fn refusal(code: StatusCode, reason: &str) -> Response {
    let status = json!({"status": "Failure", "message": reason, "reason": reason, "code": code.as_u16()});
    (code, Json(status)).into_response()
}
