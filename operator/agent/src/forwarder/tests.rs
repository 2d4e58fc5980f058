//! The forwarder between real TCP clients and servers of this process.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

struct Scene {
    _temporary: tempfile::TempDir,
    directory: ForwarderDirectory,
    address: SocketAddr,
    forwarder: JoinHandle<ForwardError>,
}

impl Scene {
    async fn new(target: Option<SocketAddr>) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let directory = ForwarderDirectory::new(temporary.path());
        if let Some(target) = target {
            directory.point(Some(&target.to_string())).unwrap();
        }
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = ForwardOptions {
            listen,
            directory: directory.clone(),
        };
        let forwarder = Forwarder::begin(options).await.unwrap();
        let address = forwarder.report.listen;
        Self {
            _temporary: temporary,
            directory,
            address,
            forwarder: tokio::spawn(forwarder.run()),
        }
    }

    fn point(&self, target: Option<SocketAddr>) {
        self.directory
            .point(target.map(|target| target.to_string()).as_deref())
            .unwrap();
    }

    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.forwarder.abort();
    }
}

/// A server that says its name to whoever connects, then sends back what it gets, and ends when the client does.
async fn server(name: &'static str) -> (SocketAddr, JoinHandle<()>) {
    serve_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), name)
}

fn serve_on(listener: TcpListener, name: &'static str) -> (SocketAddr, JoinHandle<()>) {
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                stream.write_all(name.as_bytes()).await?;
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await?;
                write.shutdown().await
            });
        }
    });
    (address, task)
}

async fn read(stream: &mut TcpStream, count: usize) -> io::Result<String> {
    let mut bytes = vec![0; count];
    timeout(LONG, stream.read_exact(&mut bytes))
        .await
        .expect("nothing came")?;
    Ok(String::from_utf8(bytes).unwrap())
}

/// Awaits the end of a connection, broken or in order.
async fn ended(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = timeout(LONG, stream.read_to_end(&mut rest))
        .await
        .expect("it stays open");
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

#[tokio::test]
async fn bytes_pass_both_ways_and_a_half_closed_client_gets_the_rest() {
    let (server, _task) = server("one").await;
    let scene = Scene::new(Some(server)).await;
    let mut client = scene.client().await;
    assert_eq!(read(&mut client, 3).await.unwrap(), "one");
    // More than fits into any buffer on the way, so that both directions block.
    let sent: Vec<u8> = (0..4_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let (mut from, mut to) = client.split();
    let write = async {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let (result, ()) = timeout(LONG, async {
        tokio::join!(from.read_to_end(&mut received), write)
    })
    .await
    .unwrap();
    result.unwrap();
    assert!(
        received == sent,
        "{} of {} bytes came back",
        received.len(),
        sent.len()
    );
}

#[tokio::test]
async fn a_new_target_closes_old_connections_and_gets_the_new_ones() {
    let ((first, _first), (second, _second)) = (server("one").await, server("two").await);
    let scene = Scene::new(Some(first)).await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(scene.client().await);
    }
    for client in &mut clients {
        assert_eq!(read(client, 3).await.unwrap(), "one");
    }
    scene.point(Some(second));
    for client in &mut clients {
        ended(client).await;
    }
    assert_eq!(read(&mut scene.client().await, 3).await.unwrap(), "two");
    let report = scene.directory.running().unwrap().unwrap();
    assert_eq!(
        (report.target, report.listen),
        (Some(second.to_string()), scene.address)
    );
    scene.point(None);
    let mut reports = Changes::of(scene.directory.path(), [ForwarderDirectory::REPORT]);
    while scene.directory.running().unwrap().unwrap().target.is_some() {
        timeout(LONG, reports.next()).await.unwrap();
    }
    let mut client = scene.client().await;
    let begin = Instant::now();
    ended(&mut client).await;
    assert!(begin.elapsed() >= PATIENCE / 2, "it was held");
}

#[tokio::test]
async fn the_same_target_written_again_closes_nothing() {
    let ((first, _first), (second, _second)) = (server("one").await, server("two").await);
    let scene = Scene::new(Some(first)).await;
    let mut client = scene.client().await;
    read(&mut client, 3).await.unwrap();
    scene.point(Some(first));
    // The other way round nothing tells that a change was seen and ignored; the next change shows that it was not taken.
    client.write_all(b"still").await.unwrap();
    assert_eq!(read(&mut client, 5).await.unwrap(), "still");
    scene.point(Some(second));
    ended(&mut client).await;
}

#[tokio::test]
async fn held_clients_get_through_when_somebody_listens() {
    let address = nobody().await;
    let scene = Scene::new(Some(address)).await;
    let mut clients = Vec::new();
    for _ in 0..30 {
        let mut client = scene.client().await;
        client.write_all(b"early").await.unwrap();
        clients.push(client);
    }
    sleep(Duration::from_millis(50)).await;
    let (_, _task) = serve_on(TcpListener::bind(address).await.unwrap(), "one");
    let begin = Instant::now();
    for client in &mut clients {
        assert_eq!(read(client, 8).await.unwrap(), "oneearly");
    }
    assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn held_clients_get_through_to_a_new_target() {
    for first in [None, Some(nobody().await)] {
        let scene = Scene::new(first).await;
        let mut client = scene.client().await;
        client.write_all(b"early").await.unwrap();
        let (second, _task) = server("two").await;
        scene.point(Some(second));
        assert_eq!(read(&mut client, 8).await.unwrap(), "twoearly");
    }
}

#[tokio::test]
async fn a_target_that_refuses_for_ever_is_given_up() {
    let scene = Scene::new(Some(nobody().await)).await;
    let begin = Instant::now();
    ended(&mut scene.client().await).await;
    assert!(
        begin.elapsed() >= PATIENCE && begin.elapsed() < PATIENCE * 3,
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn a_client_that_gives_up_is_not_waited_for() {
    // Straight at the function: from outside, nothing shows that the forwarder still holds a client.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (held, _) = listener.accept().await.unwrap();
    client.write_all(b"early").await.unwrap();
    held.readable().await.unwrap();
    let (_target, receiver) = watch::channel(None);
    let mut serving = tokio::spawn(serve(held, receiver, Arc::new(Semaphore::new(ATTEMPTS))));
    assert!(
        timeout(PATIENCE / 10, &mut serving).await.is_err(),
        "bytes alone do not end the waiting"
    );
    let begin = Instant::now();
    drop(client);
    serving.await.unwrap();
    assert!(begin.elapsed() < PATIENCE / 2, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn the_end_of_a_broker_is_passed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let scene = Scene::new(Some(listener.local_addr().unwrap())).await;
    let mut client = scene.client().await;
    let (broker, _) = listener.accept().await.unwrap();
    drop(broker);
    ended(&mut client).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_vanished_is_not_kept_when_its_broker_is_done() {
    // Only here time is ours: on the way of real bytes it would run away.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _vanished = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (client, _) = listener.accept().await.unwrap();
    let broker = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    drop(listener.accept().await.unwrap());
    broker.readable().await.unwrap();
    timeout(LONG, relay(&client, &broker))
        .await
        .expect("it is kept")
        .unwrap();
}

#[tokio::test]
async fn many_connections_at_once_leave_nothing_behind() {
    let (server, _task) = server("one").await;
    let scene = Scene::new(Some(server)).await;
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let mut client = scene.client().await;
        tasks.spawn(async move {
            let text = format!("one{number:05}");
            client.write_all(&text.as_bytes()[3..]).await.unwrap();
            assert_eq!(read(&mut client, 8).await.unwrap(), text);
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    // The last ends pass the forwarder and the server; other tests open some of their own meanwhile.
    timeout(LONG, async {
        while descriptors() > before + 100 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn one_forwarder_per_address() {
    let scene = Scene::new(None).await;
    let options = ForwardOptions {
        listen: scene.address,
        directory: scene.directory.clone(),
    };
    let error = Forwarder::begin(options).await.map(drop).unwrap_err();
    assert!(matches!(error, ForwardError::Listen { .. }), "{error}");
    assert!(error.to_string().contains(&scene.address.to_string()), "{error}");
}
