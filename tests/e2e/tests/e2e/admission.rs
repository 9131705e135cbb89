//! Admission: invalid objects are refused with a message that says what is valid, and valid ones are
//! accepted.

mod annotations;
mod changes;
mod limits;
mod objects;
mod others;
mod templates;

use anyhow::Result;
use privatekube_e2e::{TestEnvironment, block, dataset};

const DELTA: &str = "1e-9";

/// Creates a namespace with the datasets `basic` and `renyi`, and a block of each with the same dimensions.
async fn prepare(env: &TestEnvironment, namespace: &str) -> Result<()> {
    env.namespace(namespace).await?;
    let day = |dataset: &str| {
        let block = block(dataset, &format!("{dataset}-day")).budget("10", "1e-6");
        block
            .dimension("startTime", 20_778)
            .dimension("city", "nyc")
            .within(namespace)
    };
    env.create_all([
        dataset("basic").within(namespace),
        dataset("renyi").renyi(&["2", "4", "8"]).within(namespace),
        day("basic"),
        day("renyi"),
    ])
    .await
}
