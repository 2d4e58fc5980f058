//! One message, published at one broker and awaited at another.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::session::{Incoming, Options, Qos, Session, SessionError};

/// Whether this is what it was waited for: a message of an earlier attempt may come, too.
fn is_it(incoming: &Incoming, payload: &[u8]) -> bool {
    matches!(incoming, Incoming::Message(message) if message.payload == payload)
}

/// Subscribes a topic at one broker, publishes there at another, at QoS 1, and tells how long the message took.
///
/// # Errors
/// If either cannot be reached or refuses, or nothing arrives within the limit.
pub async fn carry<S: Session>(
    from: Options,
    to: Options,
    topic: &str,
    payload: &[u8],
    limit: Duration,
) -> Result<Duration, SessionError> {
    let mut receiver = S::connect(to).await?;
    receiver.subscribe(&[topic], Qos::AtLeastOnce).await?;
    let mut sender = S::connect(from).await?;
    let begin = Instant::now();
    let ticket = sender.start_publish(topic, Qos::AtLeastOnce, false, payload.to_vec())?;
    let carried = async {
        sender.wait(&Incoming::Published(ticket)).await?;
        while !is_it(&receiver.next().await?, payload) {}
        Ok(begin.elapsed())
    };
    let carried = timeout(limit, carried)
        .await
        .unwrap_or(Err(SessionError::TimedOut(limit)))?;
    sender.disconnect().await?;
    receiver.disconnect().await?;
    Ok(carried)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RumqttSession;
    use crate::fake::FakeBroker;

    #[tokio::test]
    async fn what_a_bridge_carries_arrives_and_what_none_carries_does_not() {
        let (from, to) = (FakeBroker::start().await, FakeBroker::start().await);
        let attempt = |payload: &'static str, limit: Duration| {
            let from = Options::new(from.address(), "from");
            let to = Options::new(to.address(), "to");
            carry::<RumqttSession>(from, to, "a/b", payload.as_bytes(), limit)
        };
        let none = attempt("1", Duration::from_millis(50)).await;
        assert!(matches!(none, Err(SessionError::TimedOut(_))), "{none:?}");
        from.bridge_to(&to);
        assert!(attempt("2", Duration::from_secs(10)).await.is_ok());
        to.die().await;
        let refused = attempt("3", Duration::from_secs(10)).await;
        assert!(matches!(refused, Err(SessionError::Refused)), "{refused:?}");
    }
}
