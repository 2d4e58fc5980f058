//! A client of the API server for who leads and for no longer: a process that was stopped for a while, and goes on before it has
//! noticed that another leads, writes nothing with it.

use std::time::Instant;

use kube::Client;
use tokio::sync::watch;
use tokio::time::timeout_at;
use tower::service_fn;

use crate::lease::Standing;

/// We do not lead.
#[derive(Debug, thiserror::Error)]
#[error("another controller may lead")]
struct NotLeading;

/// The same client, which refuses to begin what may not be done, and breaks off what is under way when it may not be any more.
#[must_use]
pub(crate) fn fenced(client: Client, standing: watch::Receiver<Standing>) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = service_fn(move |request| {
        let (client, standing) = (client.clone(), standing.clone());
        async move {
            tokio::select! {
                biased;
                () = over(standing) => Err(kube::Error::Service(Box::new(NotLeading))),
                answer = client.send(request) => answer,
            }
        }
    });
    Client::new(service, namespace)
}

/// Resolves when we may not act.
async fn over(mut standing: watch::Receiver<Standing>) {
    loop {
        let now = standing.borrow_and_update().clone();
        match now {
            Standing::Alone => return std::future::pending().await,
            Standing::Leading(until) if Instant::now() < until => {
                // Whether it was renewed or the time is up is seen above; so it is if nobody is left who might renew it.
                if let Ok(Err(_)) = timeout_at(until.into(), standing.changed()).await {
                    tokio::time::sleep_until(until.into()).await;
                }
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    }

    #[test]
    fn it_is_over_when_the_time_is_up_and_not_while_it_is_renewed() {
        runtime().block_on(async {
            let until = Instant::now() + Duration::from_millis(100);
            let (told, standing) = watch::channel(Standing::Leading(until));
            let end = over(standing);
            tokio::pin!(end);
            assert!(timeout(Duration::from_millis(50), &mut end).await.is_err());
            told.send_replace(Standing::Leading(until + Duration::from_millis(200)));
            assert!(
                timeout(Duration::from_millis(150), &mut end).await.is_err(),
                "it was renewed"
            );
            drop(told);
            end.await;
            assert!(Instant::now() >= until + Duration::from_millis(200));
        });
    }

    #[test]
    fn who_follows_asks_nothing() {
        runtime().block_on(async {
            let asked = service_fn(|_request: hyper::Request<kube::client::Body>| async {
                Ok::<_, kube::Error>(hyper::Response::new(kube::client::Body::empty()))
            });
            let client = Client::new(asked, "default");
            let request = || hyper::Request::new(kube::client::Body::empty());
            let (told, standing) = watch::channel(Standing::Following);
            let fenced = fenced(client, standing);
            let refused = fenced.send(request()).await.unwrap_err();
            assert!(
                refused.to_string().contains("another controller may lead"),
                "{refused}"
            );
            told.send_replace(Standing::Alone);
            assert!(fenced.send(request()).await.is_ok());
        });
    }
}
