//! Answers the controller's questions about the broker beside it, over HTTP: see [`skein_sight::wire`].
//!
//! It shows what is there and changes nothing. Whoever knows the token may ask, and nobody as long as there is none; but for figures
//! ([`figures`]), which Prometheus may have without. Nothing that is
//! asked keeps the supervisor waiting: requests, their number and their time are bounded.

mod answer;
mod figures;
mod sight;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use skein_sight::wire::HOLD;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use answer::Clerk;
pub use sight::Sight;

/// Connections at a time: further ones wait until one of them has ended.
const AT_ONCE: usize = 16;

/// How long a connection may take until it has said what it wants.
const HEAD: Duration = Duration::from_secs(5);

/// How long a connection may take altogether, of which it may be held for [`HOLD`].
const ALTOGETHER: Duration = Duration::from_mins(1);

/// The longest head of a request, in bytes.
const LONGEST: usize = 16 << 10;

/// How long until connections are accepted again when they cannot be: there are too many open files, perhaps.
const AGAIN: Duration = Duration::from_millis(100);

/// Answers whoever knows the token, for ever. When this is dropped, connections end.
pub async fn serve(
    listener: TcpListener,
    token: watch::Receiver<Option<String>>,
    sight: Sight,
) -> Infallible {
    attend_all(listener, Clerk::new(token, sight, HOLD)).await
}

async fn attend_all(listener: TcpListener, clerk: Clerk) -> Infallible {
    let clerk = Arc::new(clerk);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Also when no further one is accepted.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < AT_ONCE => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(timeout(ALTOGETHER, attend(stream, clerk.clone())));
                }
                Err(_) => sleep(AGAIN).await,
            },
        }
    }
}

/// Answers one request: to connect anew costs little inside a cluster, and what is idle keeps nobody else waiting.
async fn attend(stream: TcpStream, clerk: Arc<Clerk>) {
    let answer = service_fn(move |request| {
        let clerk = clerk.clone();
        async move { Ok::<_, Infallible>(clerk.answer(request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(LONGEST)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    // Whoever has gone asks again.
    let _ = served.await;
}
