//! When each watch was last answered: one that hears nothing any more shows what was, and nobody would know.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::Client;
use tower::service_fn;

use crate::watching::ROUND;

/// A watch is asked anew after each round and answered at once, so one that was silent for three is stale.
const STALE: Duration = Duration::from_secs(3 * ROUND as u64);

/// When one watch was last answered.
#[derive(Clone, Debug)]
pub(crate) struct Ear {
    of: String,
    heard: Arc<Mutex<Instant>>,
}

impl Ear {
    /// Of a watch that begins now.
    #[must_use]
    pub(crate) fn new(of: &str) -> Self {
        Self {
            of: of.to_owned(),
            heard: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// What it watches.
    pub(crate) fn of(&self) -> &str {
        &self.of
    }

    /// It was answered, or told something. Errors count as silence.
    pub(crate) fn hears(&self) {
        self.hears_at(Instant::now());
    }

    /// The same, at some time.
    pub(crate) fn hears_at(&self, at: Instant) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    fn last(&self) -> Instant {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same client, which notes when it is answered: that a watch of which nothing is told begins its next round is seen
    /// nowhere else.
    #[must_use]
    pub(crate) fn at(&self, client: &Client) -> Client {
        let (ear, client) = (self.clone(), client.clone());
        let namespace = client.default_namespace().to_owned();
        let service = service_fn(move |request| {
            let (ear, client) = (ear.clone(), client.clone());
            async move {
                let answer = client.send(request).await?;
                if answer.status().is_success() {
                    ear.hears();
                }
                Ok::<_, kube::Error>(answer)
            }
        });
        Client::new(service, namespace)
    }
}

/// A sentence about the watches that were silent for too long, if there are any while others are answered. Where none is, the API
/// server is gone, and to begin anew would help nobody.
#[must_use]
pub(crate) fn silence(ears: &[Ear], now: Instant) -> Option<String> {
    let silent = ears.iter().filter_map(|ear| {
        let since = now.saturating_duration_since(ear.last());
        (since > STALE).then(|| format!("no word of {} for {} s", ear.of, since.as_secs()))
    });
    let silent: Vec<String> = silent.collect();
    if silent.len() == ears.len() {
        return None;
    }
    (!silent.is_empty()).then(|| silent.join(", "))
}

#[cfg(test)]
mod tests {
    use hyper::{Request, Response, StatusCode};
    use kube::client::Body;

    use super::*;

    #[test]
    fn what_was_silent_for_three_rounds_is_named() {
        let now = Instant::now();
        let ears = [Ear::new("Broker"), Ear::new("Pod")];
        for ear in &ears {
            *ear.heard.lock().unwrap() = now;
        }
        assert_eq!(silence(&ears, now + STALE), None);
        *ears[0].heard.lock().unwrap() = now + Duration::from_secs(5);
        let later = now + STALE + Duration::from_secs(2);
        assert_eq!(silence(&ears, later).as_deref(), Some("no word of Pod for 92 s"));
        // Nobody is answered: that is not for this process to mend.
        assert_eq!(silence(&ears, later + STALE), None);
    }

    #[test]
    fn an_error_is_no_word() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        for (status, is_heard) in [(StatusCode::OK, true), (StatusCode::FORBIDDEN, false)] {
            runtime.block_on(async {
                let answers = service_fn(move |_request: Request<Body>| async move {
                    let mut answer = Response::new(Body::empty());
                    *answer.status_mut() = status;
                    Ok::<_, kube::Error>(answer)
                });
                let ear = Ear::new("Pod");
                let begun = Instant::now().checked_sub(Duration::from_secs(100)).unwrap();
                *ear.heard.lock().unwrap() = begun;
                let answer = ear
                    .at(&Client::new(answers, "default"))
                    .send(Request::new(Body::empty()))
                    .await;
                assert!(answer.is_ok());
                let other = Ear::new("Broker");
                assert_eq!(silence(&[ear, other], Instant::now()).is_none(), is_heard);
            });
        }
    }
}
