//! Waiting for conditions that no watch shows.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep, timeout_at};

/// The longest wait.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// What is waited for, or, as long as the condition doesn't hold, what is missing.
pub type Observed<T> = Result<T, String>;

/// Repeats `attempt` until it observes what is waited for. For conditions that no watch shows.
pub async fn eventually<T, F>(what: &str, mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Observed<T>>>,
{
    let end = Instant::now() + TIMEOUT;
    let mut missing = "no attempt had an answer".to_owned();
    loop {
        // An attempt that the end interrupts says less than the one before.
        if let Ok(answer) = timeout_at(end, attempt()).await {
            missing = match answer? {
                Ok(answer) => return Ok(answer),
                Err(missing) => missing,
            };
        }
        ensure!(Instant::now() < end, "{what}: not within {TIMEOUT:?}: {missing}");
        sleep(PAUSE).await;
    }
}
