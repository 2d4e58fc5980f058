//! Which of several controllers acts: the one that holds the Lease.
//!
//! The Lease is renewed by a thread of its own with a connection of its own, so that neither planning nor a thousand writes under
//! way keep it waiting; who acts asks [`Standing`]. What is decided is decided in [`election`].

mod election;

use std::str::FromStr;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client, Config};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep_until, timeout};

use self::election::{Act, Answer, Claim, DURATION, Election, Record, Version, Why};
use crate::ControllerError;
use crate::say;

/// Where a pod finds its namespace.
const NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// How long a controller that has lost the Lease may take to end by itself: a quarter of what is left until another may lead.
const GRACE: Duration = Duration::from_millis(250);

/// What is said where nobody asks for the Lease any more, for whatever reason.
const ENDED: &str = "the thread that renews the lease has ended";

/// The Lease by which controllers agree who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// Its namespace: the controller's own.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A text names no Lease.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} names no lease: write NAMESPACE/NAME")]
pub struct LeaseNameError(String);

impl FromStr for LeaseSettings {
    type Err = LeaseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                })
            }
            _ => Err(LeaseNameError(text.to_owned())),
        }
    }
}

impl LeaseSettings {
    /// The Lease `skein` of the namespace that this pod is in; none outside of a pod.
    #[must_use]
    pub fn of_this_pod() -> Option<Self> {
        let namespace = std::fs::read_to_string(NAMESPACE).ok()?;
        Some(Self {
            namespace: namespace.trim().to_owned(),
            name: "skein".to_owned(),
        })
    }
}

/// What may be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing: another leads, or nobody yet.
    Following,
    /// Everything until then, unless it is renewed.
    Leading(Instant),
    /// Everything: nobody else is asked.
    Alone,
    /// Nothing any more.
    Over(Why),
}

impl Standing {
    /// Whether something may be begun.
    #[must_use]
    pub(crate) fn may_act(&self, now: Instant) -> bool {
        match self {
            Self::Leading(until) => now < *until,
            Self::Alone => true,
            Self::Following | Self::Over(_) => false,
        }
    }
}

/// This process's part in an election.
pub(crate) struct Candidacy {
    standing: watch::Receiver<Standing>,
    resign: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Candidacy {
    /// Begins to compete for the Lease; without one, there is nobody to compete with.
    ///
    /// # Errors
    /// If the system has no thread, or the configuration makes no client.
    pub(crate) fn begin(
        mut config: Config,
        settings: Option<&LeaseSettings>,
    ) -> Result<Self, ControllerError> {
        let Some(settings) = settings else {
            say("asks for no lease: no other controller may run beside it");
            return Ok(Self {
                standing: watch::channel(Standing::Alone).1,
                resign: None,
                thread: None,
            });
        };
        config.connect_timeout = Some(Duration::from_secs(1));
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .map_err(no_thread)?;
        let client = {
            let _here = runtime.enter();
            Client::try_from(config)?
        };
        Self::on(runtime, client, settings)
    }

    /// On this runtime, which the client is of.
    fn on(runtime: Runtime, client: Client, settings: &LeaseSettings) -> Result<Self, ControllerError> {
        let (told, standing) = watch::channel(Standing::Following);
        let (resign, resigned) = oneshot::channel();
        let campaign = Campaign::new(client, settings, told);
        let thread = std::thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || runtime.block_on(campaign.run(resigned)))
            .map_err(no_thread)?;
        Ok(Self {
            standing,
            resign: Some(resign),
            thread: Some(thread),
        })
    }

    /// Resolves when we lead.
    ///
    /// # Errors
    /// If we never shall.
    pub(crate) async fn lead(&mut self) -> Result<(), ControllerError> {
        let leads = |standing: &Standing| standing.may_act(Instant::now());
        let led = self.standing.wait_for(leads).await;
        led.map(drop)
            .map_err(|_| ControllerError::NotLeading(ENDED.to_owned()))
    }

    /// Resolves when we do not lead any more, with the reason. Another may soon: there is less than a second to end in.
    pub(crate) async fn lost(&mut self) -> String {
        match self
            .standing
            .wait_for(|standing| matches!(standing, Standing::Over(_)))
            .await
            .as_deref()
        {
            Ok(Standing::Over(why)) => why.to_string(),
            Ok(_) => String::new(),
            Err(_) if self.thread.is_none() => std::future::pending().await,
            Err(_) => ENDED.to_owned(),
        }
    }

    /// What may be done, now and from now on.
    #[must_use]
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Gives the Lease up, so that another may lead at once; to be called when nothing is done any more. Blocks for two seconds at
    /// most: a request may be under way, and one is made.
    pub(crate) fn resign(self) {
        let is_over = matches!(*self.standing.borrow(), Standing::Over(_));
        if let (Some(resign), Some(thread), false) = (self.resign, self.thread, is_over)
            && resign.send(()).is_ok()
        {
            // A thread that panicked gives nothing up, and others wait until the Lease has run out.
            let _ = thread.join();
        }
    }
}

fn no_thread(source: std::io::Error) -> ControllerError {
    ControllerError::System {
        action: "start the thread of the lease",
        source,
    }
}

/// What the thread does.
struct Campaign {
    leases: Api<Lease>,
    name: String,
    me: String,
    told: watch::Sender<Standing>,
    acquired: Option<MicroTime>,
    /// Who was said to lead.
    followed: Option<String>,
    /// What was said to be wrong.
    problem: Option<String>,
}

impl Campaign {
    fn new(client: Client, settings: &LeaseSettings, told: watch::Sender<Standing>) -> Self {
        Self {
            leases: Api::namespaced(client, &settings.namespace),
            name: settings.name.clone(),
            me: identity(),
            told,
            acquired: None,
            followed: None,
            problem: None,
        }
    }

    async fn run(mut self, mut resigned: oneshot::Receiver<()>) {
        let mut election = Election::new(self.me.clone(), Instant::now());
        loop {
            let now = Instant::now();
            match election.act(now) {
                Act::Wait(until) => {
                    tokio::select! {
                        biased;
                        // Dropped: the process ends, and not in good order.
                        order = &mut resigned => return self.end(election, order.is_ok()).await,
                        () = sleep_until(until.into()) => {}
                    }
                }
                Act::Look => match self.look(election.patience(now)).await {
                    Ok(found) => election.looked(found, Instant::now()),
                    Err(problem) => {
                        self.complain(&format!("cannot read the lease: {problem}"));
                        election.did_not_look(Instant::now());
                    }
                },
                Act::Take(claim) => {
                    self.acquired = None;
                    let answer = self.write(&claim, true, election.patience(now)).await;
                    election.wrote(answer, now, Instant::now());
                }
                Act::Renew(claim) => {
                    let answer = self.write(&claim, true, election.patience(now)).await;
                    election.wrote(answer, now, Instant::now());
                }
                Act::Lost(why) => {
                    self.told.send_replace(Standing::Over(why.clone()));
                    // The process ends by itself, unless the event loop is busy with something long.
                    std::thread::sleep(GRACE);
                    say(&format!("leads no more: {why}"));
                    std::process::exit(1);
                }
            }
            self.tell(&election);
        }
    }

    fn tell(&mut self, election: &Election) {
        if let Some(until) = election.leads_until() {
            let before = self.told.send_replace(Standing::Leading(until));
            if before == Standing::Following {
                say(&format!("leads, as {}", self.me));
            }
        } else if let Some(holder) = election.holder().filter(|holder| *holder != self.me)
            && self.followed.as_deref() != Some(holder)
        {
            say(&format!("waits: {holder} leads"));
            self.followed = Some(holder.to_owned());
        }
    }

    fn complain(&mut self, problem: &str) {
        if self.problem.as_deref() != Some(problem) {
            say(&format!("{problem}; it is tried again"));
            self.problem = Some(problem.to_owned());
        }
    }

    async fn end(mut self, mut election: Election, in_good_order: bool) {
        let now = Instant::now();
        let patience = election.patience(now);
        let claim = election.resign(now).filter(|_| in_good_order);
        self.told.send_replace(Standing::Over(Why::Resigned));
        if let Some(claim) = claim
            && let Answer::Written(_) = self.write(&claim, false, patience).await
        {
            say("gave up the lease");
        }
    }

    async fn look(&self, patience: Duration) -> Result<Option<Record>, String> {
        match timeout(patience, self.leases.get_opt(&self.name)).await {
            Ok(Ok(lease)) => Ok(lease.as_ref().and_then(record)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the API server gave no answer in time".to_owned()),
        }
    }

    /// Writes ourselves in, or nobody.
    async fn write(&mut self, claim: &Claim, holds: bool, patience: Duration) -> Answer {
        let now = MicroTime(jiff::Timestamp::now());
        let acquired = self.acquired.get_or_insert_with(|| now.clone()).clone();
        let lease = lease(
            &self.name,
            claim,
            if holds { &self.me } else { "" },
            acquired,
            now,
        );
        let parameters = PostParams::default();
        let written = async {
            match claim.replaces {
                Some(_) => self.leases.replace(&self.name, &parameters, &lease).await,
                None => self.leases.create(&parameters, &lease).await,
            }
        };
        let problem = match timeout(patience, written).await {
            Ok(Ok(lease)) => match record(&lease) {
                Some(record) => return Answer::Written(record),
                None => "the answer has no version".to_owned(),
            },
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => return Answer::Refused,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 && claim.replaces.is_some() => {
                return Answer::Refused;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the API server gave no answer in time".to_owned(),
        };
        self.complain(&format!("cannot write the lease: {problem}"));
        Answer::Unknown
    }
}

fn lease(name: &str, claim: &Claim, holder: &str, acquired: MicroTime, now: MicroTime) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            // Without them the write would be taken whatever is there.
            uid: claim.replaces.as_ref().map(|version| version.uid.clone()),
            resource_version: claim.replaces.as_ref().map(|version| version.number.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            lease_transitions: Some(claim.transitions),
            acquire_time: Some(acquired),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    }
}

/// None if the server gave an object without a version, which it never does.
fn record(lease: &Lease) -> Option<Record> {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.unwrap_or_default();
    Some(Record {
        version: Version {
            uid: lease.metadata.uid.clone()?,
            number: lease.metadata.resource_version.clone()?,
        },
        holder: spec.holder_identity.unwrap_or_default(),
        transitions: spec.lease_transitions.unwrap_or_default(),
        duration: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
    })
}

/// A name that no other process ever had, nor an earlier one of this pod.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "skein".to_owned());
    let now = jiff::Timestamp::now().as_nanosecond();
    format!("{host}_{}-{now:x}", std::process::id())
}

#[cfg(test)]
mod tests;
