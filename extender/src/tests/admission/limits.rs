//! How much a namespace may claim.

use super::*;

#[tokio::test]
async fn a_namespace_that_makes_too_many_claims_is_told_to_try_again_later() {
    let limits = ClaimLimits {
        waiting: 1000,
        arrivals: 3,
    };
    let (_server, webhooks) = webhooks_with(limits);
    let mut pod = pod_object("train");
    pod["spec"]["schedulingGates"] = json!([]);
    let claim = claim(&json!({"budget": epsilon("1")}));
    let wrong = json!({"dataset": "nope", "budget": epsilon("1"), "blocks": {"max": 1}});
    let wrong = serde_json::to_value(claim_object("c", &wrong)).unwrap();
    // What isn't made doesn't count: a dry run, an object that is refused, an update.
    for _ in 0..5 {
        let dry = status_of_creation(&webhooks, "claims", &claim, true).await;
        assert_eq!(dry["allowed"], json!(true), "{dry}");
        assert!(create(&webhooks, "claims", &wrong).await.is_err());
        assert!(update(&webhooks, "claims", &claim, &claim).await.is_ok());
    }
    assert!(create(&webhooks, "claims", &claim).await.is_ok());
    assert!(create(&webhooks, "pods", &pod).await.is_ok());
    // The API server sends it again after another webhook has changed it.
    let mut gated = pod.clone();
    gated["spec"]["schedulingGates"] = json!([{"name": "privatekube.dev/budget"}]);
    assert!(create(&webhooks, "pods", &gated).await.is_ok());
    assert!(create(&webhooks, "claims", &claim).await.is_ok());
    for (webhook, object) in [("claims", &claim), ("pods", &pod)] {
        for dry in [false, true] {
            let answer = status_of_creation(&webhooks, webhook, object, dry).await;
            assert_eq!(answer["allowed"], json!(false), "{answer}");
            let status = &answer["status"];
            assert_eq!(
                (&status["code"], &status["reason"]),
                (&json!(429), &json!("TooManyRequests"))
            );
            let message = status["message"].as_str().unwrap_or_default();
            assert!(
                message.contains("3 claims of namespace") && message.contains("try again in"),
                "{message}"
            );
        }
    }
    // A pod that names claims makes none, and other namespaces aren't affected.
    let mut naming = pod_object("naming");
    naming["metadata"]["annotations"] = json!({"privatekube.dev/claim": "c"});
    assert!(create(&webhooks, "pods", &naming).await.is_ok());
}

#[tokio::test]
async fn a_namespace_of_which_too_many_claims_wait_is_told_so() {
    let limits = ClaimLimits {
        waiting: 2,
        arrivals: 1000,
    };
    let (_server, webhooks) = webhooks_with(limits);
    let claim = claim(&json!({"budget": epsilon("1")}));
    for _ in 0..2 {
        assert!(create(&webhooks, "claims", &claim).await.is_ok());
    }
    let message = create(&webhooks, "claims", &claim).await.unwrap_err();
    assert!(
        message.contains("2 claims of namespace") && message.contains("or delete some"),
        "{message}"
    );
}
