//! Creates many objects over several connections, as fast as the API server accepts them or at a steady rate.

use std::time::Duration;

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Client;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::figures::number;

/// How objects are created.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Objects that are created at the same time.
    pub(crate) connections: usize,
    /// Objects a second; `None`: as fast as they are accepted.
    pub(crate) rate: Option<f64>,
}

/// Creates all objects, and returns when the creation of each began.
pub(crate) async fn create(client: &Client, pace: Pace, objects: Vec<Value>) -> Result<Vec<Instant>> {
    let begun = Instant::now();
    let creations = objects.into_iter().enumerate().map(|(at, object)| async move {
        if let Some(rate) = pace.rate {
            sleep_until(begun + Duration::from_secs_f64(number(at) / rate)).await;
        }
        let sent = Instant::now();
        privatekube_e2e::create_with_retries(client, object).await?;
        anyhow::Ok(sent)
    });
    stream::iter(creations)
        .buffered(pace.connections)
        .try_collect()
        .await
}
