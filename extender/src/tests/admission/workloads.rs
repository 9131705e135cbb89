//! Workloads, whose pod templates are checked as their pods will be.

use super::*;

/// A workload's review: its group and resource, and the object as it is and was.
async fn workload(
    router: &Router,
    of: (&str, &str),
    object: &Value,
    old: Option<&Value>,
) -> Result<(), String> {
    let mut review: Value = serde_json::from_str(&review(object, old, "alice")).unwrap();
    review["request"]["resource"] = json!({"group": of.0, "version": "v1", "resource": of.1});
    answer(router, "workloads", review.to_string()).await.map(|_| ())
}

/// Each built-in kind of workload, with the path of its template, and an object with this template.
fn workloads_with(template: &Value) -> Vec<((&'static str, &'static str), &'static str, Value)> {
    let mut all = Vec::new();
    for (group, resource) in [
        ("apps", "deployments"),
        ("apps", "statefulsets"),
        ("apps", "daemonsets"),
        ("apps", "replicasets"),
        ("batch", "jobs"),
        ("", "replicationcontrollers"),
    ] {
        let object = json!({"metadata": {"name": "w"}, "spec": {"template": template}});
        all.push(((group, resource), "spec.template", object));
    }
    let object =
        json!({"metadata": {"name": "w"}, "spec": {"jobTemplate": {"spec": {"template": template}}}});
    all.push((("batch", "cronjobs"), "spec.jobTemplate.spec.template", object));
    all
}

#[tokio::test]
async fn the_template_of_a_workload_is_checked_as_its_pods_will_be() {
    let (_server, webhooks) = webhooks();
    let right = pod_object("train");
    let wrong = |change: &dyn Fn(&mut Value)| {
        let mut pod = right.clone();
        change(&mut pod);
        pod
    };
    let wrong = [
        (
            wrong(&|pod| pod["metadata"]["annotations"]["privatekube.dev/epsilon"] = json!("much")),
            "privatekube.dev/epsilon: \"much\" is not a number",
        ),
        (
            wrong(&|pod| pod["metadata"]["annotations"]["PrivateKube.dev/epsilon"] = json!("1")),
            "did you mean privatekube.dev/epsilon?",
        ),
        (
            wrong(&|pod| pod["metadata"]["labels"]["privatekube.dev/dataset"] = json!("taxi")),
            "labels request no budget",
        ),
        (
            wrong(&|pod| pod["spec"]["restartPolicy"] = json!("OnFailure")),
            "spec.restartPolicy is \"OnFailure\"",
        ),
        (
            wrong(&|pod| pod["metadata"]["annotations"]["privatekube.dev/dataset"] = json!("other")),
            "annotation privatekube.dev/dataset: \"other\" is unknown",
        ),
    ];
    for (of, _, object) in workloads_with(&right) {
        assert_eq!(workload(&webhooks, of, &object, None).await, Ok(()));
    }
    for (template, words) in wrong {
        for (of, path, object) in workloads_with(&template) {
            let denied = workload(&webhooks, of, &object, None).await.unwrap_err();
            assert!(
                denied.contains(&format!("PrivateKube: {path}: ")) && denied.contains(words),
                "{denied}"
            );
            // What was there before is left alone, and so can be scaled and deleted.
            let mut scaled = object.clone();
            scaled["spec"]["replicas"] = json!(3);
            assert_eq!(workload(&webhooks, of, &scaled, Some(&object)).await, Ok(()));
        }
    }
}

#[tokio::test]
async fn keys_of_ours_on_a_workload_instead_of_its_template_are_denied() {
    let (_server, webhooks) = webhooks();
    let plain = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}});
    for (of, path, object) in workloads_with(&plain) {
        assert_eq!(workload(&webhooks, of, &object, None).await, Ok(()));
        for (list, key) in [
            ("annotations", "privatekube.dev/dataset"),
            ("annotations", "PrivateKube.dev/epsilon"),
            ("labels", "privatekube.dev/dataset"),
        ] {
            let mut wrong = object.clone();
            wrong["metadata"][list] = json!({key: "taxi"});
            let denied = workload(&webhooks, of, &wrong, None).await.unwrap_err();
            assert!(
                denied.contains(&format!("metadata.{list}[{key}]: nothing is requested here"))
                    && denied.contains(&format!("write it in {path}.metadata.annotations")),
                "{denied}"
            );
            assert!(workload(&webhooks, of, &wrong, Some(&object)).await.is_err());
        }
    }
}
