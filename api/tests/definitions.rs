//! The custom resource definitions: the manifests are up to date, and every field has a description.

use std::{fs, path::Path};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use privatekube_api::{crd_files, crds, grant_schema};

#[test]
fn the_definitions_in_the_manifests_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/crds");
    for (name, text) in crd_files().unwrap() {
        assert!(
            fs::read_to_string(folder.join(&name)).unwrap_or_default() == text,
            "manifests/crds/{name} is stale: run cargo run -p privatekube-api --bin crdgen"
        );
    }
    // Beside the definitions there is the kustomization that lists them.
    assert_eq!(
        fs::read_dir(folder).unwrap().count(),
        crds().len() + 1,
        "a definition of no kind"
    );
}

#[test]
fn the_schema_of_the_grant_in_the_docs_is_that_of_the_type_and_says_what_each_field_is() {
    fn check(schema: &serde_json::Value, path: &str) {
        match schema {
            serde_json::Value::Object(fields) => {
                for (name, field) in fields {
                    let path = format!("{path}.{name}");
                    let properties = field.as_object().filter(|_| name == "properties");
                    for (name, property) in properties.into_iter().flatten() {
                        assert!(
                            !property["description"].is_null(),
                            "{path}.{name} has no description"
                        );
                    }
                    check(field, &path);
                }
            }
            serde_json::Value::Array(all) => all.iter().for_each(|one| check(one, path)),
            _ => {}
        }
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/grant.schema.json");
    let text = grant_schema().unwrap();
    assert!(
        fs::read_to_string(file).unwrap_or_default() == text,
        "docs/grant.schema.json is stale: run cargo run -p privatekube-api --bin crdgen"
    );
    check(&serde_json::from_str(&text).unwrap(), "");
}

#[test]
fn each_column_shows_a_field_and_says_what_it_is() {
    for crd in crds() {
        let version = &crd.spec.versions[0];
        let schema = version
            .schema
            .as_ref()
            .unwrap()
            .open_api_v3_schema
            .as_ref()
            .unwrap();
        for column in version.additional_printer_columns.iter().flatten() {
            let path = column.json_path.as_str();
            assert!(
                column.description.is_some() || column.name == "Age",
                "{} has no description",
                column.name
            );
            // A condition is chosen by its type, and an object's metadata is the same for all kinds.
            if path.starts_with(".metadata.") || path.starts_with(".status.conditions[?(@.type==") {
                continue;
            }
            let mut at = schema;
            for field in path.trim_start_matches('.').split('.') {
                let properties = at.properties.as_ref().unwrap();
                at = properties
                    .get(field)
                    .unwrap_or_else(|| panic!("{}: {path}", crd.spec.names.kind));
            }
            // A status has more than 160 characters only outside of columns.
            assert_ne!(at.description.as_deref(), None, "{path}");
            assert!(
                ["message", "dataSource"]
                    .iter()
                    .all(|long| path != format!(".status.{long}") && path != format!(".spec.{long}")),
                "{path} may be longer than a column"
            );
        }
    }
}

#[test]
fn every_field_says_what_it_is() {
    fn check(schema: &JSONSchemaProps, path: &str) {
        for (name, property) in schema.properties.iter().flatten() {
            let path = format!("{path}.{name}");
            assert!(property.description.is_some(), "{path} has no description");
            // An epsilon that can't be counted is null.
            let may_be_null = path.contains(".status.") && path.ends_with(".renyi[].epsilon");
            assert_eq!(property.nullable, may_be_null.then_some(true), "{path}");
            check(property, &path);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
            check(items, &format!("{path}[]"));
        }
        if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
            check(values, &format!("{path}{{}}"));
        }
    }
    for crd in crds() {
        for version in &crd.spec.versions {
            let schema = version
                .schema
                .as_ref()
                .and_then(|schema| schema.open_api_v3_schema.as_ref());
            check(schema.unwrap(), &crd.spec.names.kind);
        }
    }
}
