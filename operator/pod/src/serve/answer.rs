//! One request, answered.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use skein_filters::TopicFilter;
use skein_sight::rooms::Room;
use skein_sight::values;
use skein_sight::wire::{ACTIVITY, HEALTH, METRICS, ROOM, SESSIONS, VALUES, Wanted};
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Sight, figures};

/// The longest body of a request, in bytes.
const LONGEST: usize = 4 << 20;

/// How long a body may be on its way.
const BODY: Duration = Duration::from_secs(5);

/// How long a store may take to be read because somebody asks.
const READING: Duration = Duration::from_secs(30);

type Answer = Response<Full<Bytes>>;

/// Who answers.
pub(super) struct Clerk {
    token: watch::Receiver<Option<String>>,
    sight: Arc<Sight>,
    /// How long a question for news stays without an answer.
    hold: Duration,
}

/// A request that is not granted.
struct Refusal(StatusCode, String);

impl Clerk {
    pub(super) fn new(token: watch::Receiver<Option<String>>, sight: Sight, hold: Duration) -> Self {
        let sight = Arc::new(sight);
        Self { token, sight, hold }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Answer {
        if request.uri().path() == HEALTH && *request.method() == Method::GET {
            return text(StatusCode::OK, "ok".to_owned());
        }
        if request.uri().path() == METRICS && *request.method() == Method::GET {
            let sight = self.sight.clone();
            // It looks at files.
            return match blocking(move || figures::text(&sight)).await {
                Ok(Ok(figures)) => of_type(skein_metrics::FORMAT, Bytes::from(figures)),
                Ok(Err(error)) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
                Err(Refusal(status, why)) => text(status, why),
            };
        }
        if !self.admits(&request) {
            let mut refused = text(
                StatusCode::UNAUTHORIZED,
                "the token is missing or wrong".to_owned(),
            );
            let challenge = HeaderValue::from_static("Bearer");
            refused.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            return refused;
        }
        let granted = self.grant(request).await;
        granted.unwrap_or_else(|Refusal(status, why)| text(status, why))
    }

    fn admits(&self, request: &Request<Incoming>) -> bool {
        let said = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let said = said.and_then(|said| said.strip_prefix(b"Bearer "));
        let token = self.token.borrow();
        let is_token = |said: &[u8], token: &String| said.ct_eq(token.as_bytes()).into();
        // An empty one is none.
        let token = token.as_ref().filter(|token| !token.is_empty());
        said.zip(token).is_some_and(|(said, token)| is_token(said, token))
    }

    async fn grant(&self, request: Request<Incoming>) -> Result<Answer, Refusal> {
        let is_get = *request.method() == Method::GET;
        let is_post = *request.method() == Method::POST;
        match request.uri().path() {
            SESSIONS if is_get => {
                let after = number(&request, "after")?.unwrap_or(0);
                match timeout(self.hold, self.sight.news(after)).await {
                    Ok(told) => json(known(told)?).await,
                    Err(_) => Ok(empty()),
                }
            }
            SESSIONS if is_post => {
                let told = timeout(READING, self.sight.read()).await;
                json(known(told.ok().flatten())?).await
            }
            VALUES if is_post => self.values(request).await,
            ACTIVITY if is_get => {
                let interval = number(&request, "interval")?.unwrap_or(1000);
                json(self.sight.activity(Duration::from_millis(interval))).await
            }
            ROOM if is_get => {
                let store = self.sight.store();
                json(blocking(move || Room::at(&store)).await?).await
            }
            SESSIONS | VALUES | ACTIVITY | ROOM => Err(Refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("{} is not for this path", request.method()),
            )),
            path => Err(Refusal(StatusCode::NOT_FOUND, format!("there is no {path}"))),
        }
    }

    async fn values(&self, request: Request<Incoming>) -> Result<Answer, Refusal> {
        let wrong = |why: String| Refusal(StatusCode::BAD_REQUEST, why);
        let wanted: Wanted =
            serde_json::from_slice(&body(request).await?).map_err(|error| wrong(error.to_string()))?;
        let filters = wanted.filters.iter().map(|text| TopicFilter::parse(text));
        let filters: Result<Vec<_>, _> = filters.collect();
        let filters = filters.map_err(|error| wrong(error.to_string()))?;
        let store = self.sight.store();
        let values = blocking(move || values::read(&store, &filters, values::now())).await?;
        json(values.map_err(|error| failed(&error))?).await
    }
}

/// What a request says beside its head.
async fn body(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let too_long = || {
        Refusal(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("more than {LONGEST} bytes"),
        )
    };
    // Who says beforehand that it is too long need not send it.
    if request.body().size_hint().lower() > LONGEST as u64 {
        return Err(too_long());
    }
    let collected = timeout(BODY, Limited::new(request.into_body(), LONGEST).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(error)) => Err(Refusal(StatusCode::BAD_REQUEST, error.to_string())),
        Err(_) => Err(Refusal(
            StatusCode::REQUEST_TIMEOUT,
            "the body does not come".to_owned(),
        )),
    }
}

/// A number that the query names.
fn number(request: &Request<Incoming>, name: &str) -> Result<Option<u64>, Refusal> {
    let pairs = request.uri().query().unwrap_or_default().split('&');
    let mut values = pairs.filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let number = values.next().map(str::parse).transpose();
    number.map_err(|error| Refusal(StatusCode::BAD_REQUEST, format!("{name}: {error}")))
}

/// The reader has not ended, and took no longer than it may.
fn known<T>(told: Option<T>) -> Result<T, Refusal> {
    told.ok_or_else(|| failed(&"the store cannot be read now"))
}

fn failed(why: &impl ToString) -> Refusal {
    Refusal(StatusCode::INTERNAL_SERVER_ERROR, why.to_string())
}

async fn blocking<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    spawn_blocking(what).await.map_err(|error| failed(&error))
}

/// Written down beside the loop: it may be much.
async fn json<T: Serialize + Send + 'static>(value: T) -> Result<Answer, Refusal> {
    let body = blocking(move || serde_json::to_vec(&value)).await?;
    let body = body.map_err(|error| failed(&error))?;
    Ok(of_type("application/json", Bytes::from(body)))
}

fn text(status: StatusCode, text: String) -> Answer {
    let mut answer = of_type("text/plain; charset=utf-8", Bytes::from(text));
    *answer.status_mut() = status;
    answer
}

fn of_type(kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn empty() -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}
