//! What the controller tells over HTTP: whether it is alive and ready, and its metrics. Answered by the event loop that does the
//! work, so that one that hangs does not answer.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::ControllerError;
use crate::hearing::{Ear, silence};
use crate::metrics::METRICS;

/// Connections at a time: a kubelet and a Prometheus or two need a handful.
const AT_ONCE: usize = 32;
/// How long a connection may be open: nobody may keep others out by saying nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a request may take to be said.
const HEADERS: Duration = Duration::from_secs(5);

/// What is told about.
pub(crate) struct Sight {
    /// When each watch was last answered.
    pub(crate) ears: Vec<Ear>,
    /// All has been read once.
    pub(crate) is_ready: Rc<Cell<bool>>,
}

impl Sight {
    fn answer(&self, method: &Method, path: &str, now: Instant) -> Response<String> {
        if method != Method::GET && method != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
        }
        match path {
            "/healthz" => match silence(&self.ears, now) {
                None => text(StatusCode::OK, "ok\n".to_owned()),
                Some(silence) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{silence}\n")),
            },
            "/readyz" if self.is_ready.get() => text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the cluster has not been read yet\n".to_owned(),
            ),
            "/metrics" => match METRICS.text() {
                Ok(metrics) => {
                    let mut answer = text(StatusCode::OK, metrics);
                    let format = HeaderValue::from_static(skein_metrics::FORMAT);
                    answer.headers_mut().insert(CONTENT_TYPE, format);
                    answer
                }
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            },
            _ => text(
                StatusCode::NOT_FOUND,
                "there are /healthz, /readyz and /metrics\n".to_owned(),
            ),
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<String> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    answer
}

/// Listens there, and answers whoever asks until the process ends; gives the address. To be called in a `LocalSet`.
///
/// # Errors
/// If the address is not to be had.
pub(crate) async fn serve(address: SocketAddr, sight: Sight) -> Result<SocketAddr, ControllerError> {
    let failed = |source| ControllerError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let sight = Rc::new(sight);
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    tokio::task::spawn_local(async move {
        while let Ok(turn) = turns.clone().acquire_owned().await {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of files, say: there is nothing to do but wait.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let sight = sight.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = sight.answer(request.method(), request.uri().path(), Instant::now());
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS)
                .serve_connection(TokioIo::new(stream), service);
            tokio::task::spawn_local(async move {
                // Who asks and leaves is not our trouble.
                let _ = tokio::time::timeout(PATIENCE, connection).await;
                drop(turn);
            });
        }
    });
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn sight(is_ready: bool) -> Sight {
        Sight {
            ears: vec![Ear::new("pods"), Ear::new("topics")],
            is_ready: Rc::new(Cell::new(is_ready)),
        }
    }

    fn asked(sight: &Sight, path: &str, now: Instant) -> (u16, String) {
        let answer = sight.answer(&Method::GET, path, now);
        (answer.status().as_u16(), answer.into_body())
    }

    #[test]
    fn it_is_healthy_while_all_watches_are_answered_and_ready_when_all_was_read() {
        let now = Instant::now();
        assert_eq!(asked(&sight(false), "/healthz", now), (200, "ok\n".to_owned()));
        let later = now + Duration::from_secs(100);
        let deaf = sight(true);
        deaf.ears[1].hears_at(later);
        let (status, text) = asked(&deaf, "/healthz", later);
        assert_eq!(status, 503);
        assert!(text.starts_with("no word of pods for "), "{text}");
        assert_eq!(asked(&sight(true), "/readyz", now).0, 200);
        assert_eq!(asked(&sight(false), "/readyz", now).0, 503);
        assert_eq!(asked(&sight(true), "/", now).0, 404);
        assert_eq!(sight(true).answer(&Method::POST, "/healthz", now).status(), 405);
    }

    #[test]
    fn metrics_are_told_over_a_socket() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        METRICS.wrote("Nothing", "ok");
        let answer = tokio::task::LocalSet::new().block_on(&runtime, async {
            let address = serve("127.0.0.1:0".parse().unwrap(), sight(true)).await.unwrap();
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let request = b"GET /metrics HTTP/1.1\r\nHost: skein\r\nConnection: close\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        });
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains("content-type: text/plain; version=0.0.4\r\n"),
            "{answer}"
        );
        assert!(
            answer.contains("\nskein_writes_total{kind=\"Nothing\",result=\"ok\"} 1\n"),
            "{answer}"
        );
    }
}
