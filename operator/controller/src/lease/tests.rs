use std::sync::{Arc, Mutex};

use hyper::{Method, Request, Response, StatusCode};
use kube::client::Body;
use tokio::runtime::Runtime;
use tower::service_fn;

use super::*;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn settings() -> LeaseSettings {
    "skein/skein".parse().unwrap()
}

/// An API server that keeps one Lease as the real one does, and all that was asked of it.
#[derive(Clone, Default)]
struct Server {
    lease: Arc<Mutex<Option<Lease>>>,
    asked: Arc<Mutex<Vec<Method>>>,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let (status, answer) = server.answer(&parts.method, &body);
                let mut answer = Response::new(Body::from(answer));
                *answer.status_mut() = status;
                Ok::<_, kube::Error>(answer)
            }
        });
        Client::new(service, "skein")
    }

    fn answer(&self, method: &Method, body: &[u8]) -> (StatusCode, Vec<u8>) {
        self.asked.lock().unwrap().push(method.clone());
        let mut lease = self.lease.lock().unwrap();
        if *method != Method::GET {
            let mut wanted: Lease = serde_json::from_slice(body).unwrap();
            let there = lease
                .as_ref()
                .map(|lease| lease.metadata.clone())
                .unwrap_or_default();
            if (wanted.metadata.resource_version, wanted.metadata.uid)
                != (there.resource_version.clone(), there.uid)
            {
                return refusal(StatusCode::CONFLICT);
            }
            let number = there
                .resource_version
                .map_or(0, |number| number.parse::<u64>().unwrap());
            wanted.metadata.resource_version = Some((number + 1).to_string());
            wanted.metadata.uid = Some("u".to_owned());
            *lease = Some(wanted);
        }
        match &*lease {
            Some(lease) => (StatusCode::OK, serde_json::to_vec(lease).unwrap()),
            None => refusal(StatusCode::NOT_FOUND),
        }
    }

    fn spec(&self) -> LeaseSpec {
        self.lease.lock().unwrap().clone().unwrap().spec.unwrap()
    }

    /// A candidate on a thread of its own, and what ends it.
    fn candidate(&self) -> Candidacy {
        let runtime = runtime();
        let client = {
            let _here = runtime.enter();
            self.client()
        };
        Candidacy::on(runtime, client, &settings()).unwrap()
    }
}

fn refusal(status: StatusCode) -> (StatusCode, Vec<u8>) {
    let reason = status.canonical_reason().unwrap().replace(' ', "");
    let status_object = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "", "reason": reason, "code": status.as_u16(),
    });
    (status, status_object.to_string().into_bytes())
}

#[test]
fn one_leads_the_other_waits_and_follows_at_once_when_the_first_resigns() {
    let server = Server::default();
    runtime().block_on(async {
        let mut first = server.candidate();
        first.lead().await.unwrap();
        let holder = server.spec().holder_identity;
        let mut second = server.candidate();
        let patience = Duration::from_millis(1500);
        assert!(timeout(patience, second.lead()).await.is_err(), "two lead");
        let spec = server.spec();
        assert_eq!(spec.holder_identity, holder);
        assert!(spec.renew_time > spec.acquire_time, "it was not renewed");
        assert_eq!(spec.lease_transitions, Some(0));
        first.resign();
        assert_eq!(server.spec().holder_identity.as_deref(), Some(""));
        timeout(Duration::from_secs(1), second.lead())
            .await
            .unwrap()
            .unwrap();
        assert_ne!(server.spec().holder_identity, holder);
        second.resign();
    });
    let asked = server.asked.lock().unwrap().clone();
    assert!(
        asked
            .iter()
            .all(|method| [Method::GET, Method::PUT, Method::POST].contains(method)),
        "{asked:?}"
    );
}

#[test]
fn another_leads_within_five_seconds_of_the_leaders_death() {
    let server = Server::default();
    let runtime_of_first = runtime();
    let (told, mut standing) = watch::channel(Standing::Following);
    let (_resign, resigned) = oneshot::channel();
    runtime_of_first.block_on(async {
        let campaign = Campaign::new(server.client(), &settings(), told);
        tokio::spawn(campaign.run(resigned));
        standing
            .wait_for(|standing| *standing != Standing::Following)
            .await
            .unwrap();
    });
    let mut second = server.candidate();
    // It renews once more, and dies without a word.
    runtime_of_first.block_on(async { tokio::time::sleep(Duration::from_millis(1200)).await });
    let died = Instant::now();
    drop(runtime_of_first);
    runtime().block_on(second.lead()).unwrap();
    assert!(
        died.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        died.elapsed()
    );
    second.resign();
}

#[test]
fn without_a_lease_one_acts_for_ever() {
    runtime().block_on(async {
        let config = Config::new("http://127.0.0.1:1".parse().unwrap());
        let mut alone = Candidacy::begin(config, None).unwrap();
        alone.lead().await.unwrap();
        assert!(timeout(Duration::from_millis(20), alone.lost()).await.is_err());
    });
}

#[test]
fn a_lease_is_named_with_its_namespace() {
    let settings: LeaseSettings = "skein/other".parse().unwrap();
    assert_eq!(
        (settings.namespace.as_str(), settings.name.as_str()),
        ("skein", "other")
    );
    for wrong in ["skein", "/skein", "skein/", "a/b/c"] {
        let error = wrong.parse::<LeaseSettings>().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{wrong:?} names no lease: write NAMESPACE/NAME")
        );
    }
}

#[test]
fn what_is_written_is_read_back_and_names_what_it_replaces() {
    let version = Version {
        uid: "u".to_owned(),
        number: "12".to_owned(),
    };
    let claim = Claim {
        replaces: Some(version.clone()),
        transitions: 3,
    };
    let now = MicroTime("2026-01-02T03:04:05.678901Z".parse().unwrap());
    let written = lease("skein", &claim, "me", now.clone(), now);
    assert_eq!(written.metadata.resource_version.as_deref(), Some("12"));
    let expected = Record {
        version,
        holder: "me".to_owned(),
        transitions: 3,
        duration: DURATION,
    };
    assert_eq!(record(&written), Some(expected));
}

#[test]
fn who_leads_acts_until_its_time_is_over_though_nobody_said_so() {
    let now = Instant::now();
    let until = now + Duration::from_secs(3);
    assert!(Standing::Leading(until).may_act(now));
    assert!(!Standing::Leading(until).may_act(until));
    assert!(!Standing::Following.may_act(now));
    assert!(Standing::Alone.may_act(until));
}
