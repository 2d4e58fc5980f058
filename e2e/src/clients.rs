//! Clients of a fleet on Kubernetes: at Services, and led elsewhere now and then.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::kubernetes::{SOON, pod_of, service};
use crate::{Namespace, RawClient, wait_for, wait_until};

/// A client at a broker's Service, as soon as one is let in.
pub async fn client(
    namespace: &Namespace,
    broker: &str,
    id: &str,
    clean: bool,
    patience: Duration,
) -> Result<RawClient> {
    let address = service(namespace, broker).await?;
    wait_for(&format!("{broker} to take {id}"), patience, async || {
        let connect = RawClient::connect(&address, id, clean, None);
        tokio::time::timeout(Duration::from_millis(500), connect)
            .await
            .ok()?
            .ok()
    })
    .await
}

/// Publishes at one broker until it arrives at another's client; gives how long that took.
pub async fn flows(publisher: &mut RawClient, subscriber: &mut RawClient, topic: &str) -> Result<Duration> {
    let begin = Instant::now();
    while begin.elapsed() < SOON {
        publisher.publish(topic, "7", 1, false).await?;
        if let Some(message) = subscriber.receive(Duration::from_millis(200)).await? {
            subscriber.acknowledge(&message).await?;
            ensure!(message.topic == topic, "{} arrived", message.topic);
            return Ok(begin.elapsed());
        }
    }
    bail!("nothing arrives on {topic}")
}

/// Waits until a pod tells of a client's session, which its broker's store has a moment after the client: what is known of it then is
/// known to the controller, which asked before.
pub async fn wait_known(namespace: &Namespace, broker: &str, client: &str) -> Result<()> {
    let address = pod_of(namespace, broker, ".status.podIP").await?;
    wait_known_at(namespace, broker, &address, client).await
}

/// The same of a broker whose supervisor is asked at this address.
pub async fn wait_known_at(namespace: &Namespace, broker: &str, address: &str, client: &str) -> Result<()> {
    let path = [
        "get",
        &format!("secret/{broker}-skein"),
        "--output",
        "go-template={{.data.token | base64decode}}",
    ];
    let token = namespace.kubectl(&path).await?;
    let address = format!("{address}:9883");
    let request = format!(
        "GET /sessions?after=0 HTTP/1.1\r\nHost: pod\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    wait_until("the pod to tell of a session", SOON, async || {
        let ask = async {
            let mut stream = TcpStream::connect(&address).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        ask.await
            .is_ok_and(|answer| answer.contains(&format!("\"{client}\"")))
    })
    .await
}

/// Publishes numbers at QoS 1, each until it is acknowledged, wherever its broker's address leads meanwhile.
pub struct Sender {
    address: String,
    client_id: String,
    topic: String,
    connection: Option<RawClient>,
    /// How many are acknowledged: the numbers from 0.
    pub acknowledged: u64,
}

impl Sender {
    /// At a broker's Service.
    pub async fn at(namespace: &Namespace, broker: &str, client_id: &str, topic: &str) -> Result<Self> {
        Ok(Self {
            address: service(namespace, broker).await?,
            client_id: client_id.to_owned(),
            topic: topic.to_owned(),
            connection: None,
            acknowledged: 0,
        })
    }

    /// Has the next number acknowledged.
    pub async fn send(&mut self, patience: Duration) -> Result<()> {
        let begin = Instant::now();
        loop {
            match timeout(Duration::from_secs(1), self.attempt()).await {
                Ok(Ok(())) => break,
                _ if begin.elapsed() > patience => bail!("{} is not acknowledged", self.acknowledged),
                _ => self.connection = None,
            }
        }
        self.acknowledged += 1;
        Ok(())
    }

    async fn attempt(&mut self) -> Result<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            empty => empty.insert(RawClient::connect(&self.address, &self.client_id, true, None).await?),
        };
        let payload = self.acknowledged.to_string();
        connection.publish(&self.topic, &payload, 1, false).await
    }
}

/// A durable client that takes numbers, and comes back wherever its broker's address leads meanwhile. Ends with this.
pub struct Taker {
    taken: Arc<Mutex<BTreeSet<u64>>>,
    task: JoinHandle<Result<()>>,
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Taker {
    /// At a broker's Service. It has to have a session.
    pub async fn start(namespace: &Namespace, broker: &str, client_id: &str) -> Result<Self> {
        let taken = Arc::default();
        let address = service(namespace, broker).await?;
        let task = tokio::spawn(take(address, client_id.to_owned(), Arc::clone(&taken)));
        Ok(Self { taken, task })
    }

    /// Waits until every number that was acknowledged has come.
    pub async fn wait_all(&mut self, sender: &Sender, patience: Duration) -> Result<()> {
        let missing = || {
            let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            (0..sender.acknowledged)
                .filter(|number| !taken.contains(number))
                .collect::<Vec<_>>()
        };
        let is_over = async || missing().is_empty() || self.task.is_finished();
        let waited = wait_until("all numbers", patience, is_over).await;
        if self.task.is_finished() {
            (&mut self.task).await??;
        }
        let missing = missing();
        waited.with_context(|| {
            format!(
                "of {} numbers {} never came: {missing:?}",
                sender.acknowledged,
                missing.len()
            )
        })
    }
}

async fn take(address: String, client_id: String, taken: Arc<Mutex<BTreeSet<u64>>>) -> Result<()> {
    loop {
        let connect = RawClient::connect(&address, &client_id, false, None);
        let Ok(Ok(mut client)) = timeout(Duration::from_millis(500), connect).await else {
            continue;
        };
        ensure!(client.session_present(), "the session of {client_id} is lost");
        // A connection that ends is one that was led elsewhere; one that is silent may be with a broker that is gone.
        while let Ok(Ok(Some(message))) =
            timeout(Duration::from_secs(2), client.receive(Duration::from_secs(1))).await
        {
            let number = std::str::from_utf8(&message.payload)?.parse()?;
            if client.acknowledge(&message).await.is_err() {
                break;
            }
            taken
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(number);
        }
    }
}
