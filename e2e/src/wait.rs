//! Waiting for something to become true.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Far longer than anything takes that a story waits for.
pub const PATIENCE: Duration = Duration::from_mins(1);

const INTERVAL: Duration = Duration::from_millis(10);

/// Waits until the condition gives something.
///
/// The description completes the sentence "waited in vain for …".
pub async fn wait_for<T>(
    description: &str,
    timeout: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(found) = condition().await {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {:.1} s in vain for {description}", timeout.as_secs_f64());
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Waits until the condition holds. The description is as in [`wait_for`].
pub async fn wait_until(
    description: &str,
    timeout: Duration,
    mut condition: impl AsyncFnMut() -> bool,
) -> Result<()> {
    wait_for(description, timeout, async || condition().await.then_some(())).await
}
