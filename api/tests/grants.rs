//! The grant that a pod's containers read.

use privatekube_api::{BudgetRequest, Grant, GrantedBlock, GrantedBudget, GrantedClaim, RenyiAmount};
use serde_json::json;

#[test]
fn a_grant_is_read_as_it_is_written() {
    let block = |name: &str, budget: &BudgetRequest| GrantedBlock {
        name: name.to_owned(),
        data_source: (name == "b1").then(|| "s3://lake/b1".to_owned()),
        budget: GrantedBudget::from(budget),
    };
    let (epsilon, delta) = ("0.5".parse().unwrap(), "1e-9".parse().unwrap());
    let guarantee = BudgetRequest::Guarantee { epsilon, delta };
    let curve = BudgetRequest::Curve(vec![("2".parse().unwrap(), epsilon)]);
    let text = "laplace(scale=10)";
    let mechanism = BudgetRequest::Mechanism(text.parse().unwrap(), text.to_owned());
    let grant = Grant {
        claims: vec![GrantedClaim {
            claim: "data/train".to_owned(),
            dataset: "data/taxi".to_owned(),
            blocks: vec![
                block("b1", &guarantee),
                block("b2", &curve),
                block("b3", &mechanism),
            ],
        }],
    };
    let written = serde_json::to_value(&grant).unwrap();
    assert_eq!(
        written,
        json!({"claims": [{
            "claim": "data/train",
            "dataset": "data/taxi",
            "blocks": [
                {"name": "b1", "dataSource": "s3://lake/b1", "epsilon": "0.5", "delta": "0.000000001"},
                {"name": "b2", "renyi": [{"order": "2", "epsilon": "0.5"}]},
                {"name": "b3", "mechanism": "laplace(scale=10)"},
            ],
        }]})
    );
    assert_eq!(serde_json::from_value::<Grant>(written).unwrap(), grant);
    let GrantedBudget::Curve { renyi } = &grant.claims[0].blocks[1].budget else {
        panic!()
    };
    assert_eq!(
        renyi[0],
        RenyiAmount {
            order: "2".to_owned(),
            epsilon: "0.5".to_owned()
        }
    );
}
