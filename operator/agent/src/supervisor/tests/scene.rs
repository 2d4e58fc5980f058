//! What the supervisor's tests need: a broker that is this very test program, and a directory with a supervisor to it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::judge::Way;

/// Far longer than anything here takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// Set for a process that is the broker, not the tests.
const ARGUMENTS: &str = "SKEIN_FAKE_BROKER";

/// Not a test but the broker of the tests below: when they run this program again with its arguments in the environment,
/// it listens where its configuration says (`listener PORT`, see [`serve`]), reads it again on SIGHUP, ends on SIGTERM, and dies of a
/// line `dies` or, at a reload, of `dies_of_reload`.
#[test]
fn fake_broker() {
    let Ok(config) = std::env::var(ARGUMENTS) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut reload = signal(SignalKind::hangup()).unwrap();
        let mut end = signal(SignalKind::terminate()).unwrap();
        let text = fs::read_to_string(&config).unwrap();
        if text.contains("dies\n") {
            eprintln!("1795258568: Error: this one dies.");
            std::process::exit(3);
        }
        for port in ready::ports(&text) {
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await;
            tokio::spawn(serve(listener.unwrap()));
        }
        loop {
            tokio::select! {
                _ = reload.recv() => {
                    let text = fs::read_to_string(&config).unwrap();
                    eprintln!("1795258568: Reloading config.");
                    if text.contains("dies_of_reload\n") {
                        std::process::abort();
                    }
                }
                _ = end.recv() => std::process::exit(0),
            }
        }
    });
}

/// Takes every connection; never reads from the first, and notes when another one is given up.
async fn serve(listener: tokio::net::TcpListener) {
    let _first = listener.accept().await;
    while let Ok((mut connection, _)) = listener.accept().await {
        let given_up = tokio::io::copy(&mut connection, &mut tokio::io::sink()).await;
        eprintln!("1795258568: a connection was given up: {given_up:?}");
    }
}

/// Knows what the fake broker needs: a changed listener takes a restart, all else a reload.
pub(super) struct FakeKnowledge;

impl Knowledge for FakeKnowledge {
    fn objection(&self, config: &str) -> Option<String> {
        config
            .contains("bogus")
            .then(|| "the parser does not like it".to_owned())
    }

    fn way(&self, old: &str, new: &str, _: Version) -> Way {
        if ready::ports(old) == ready::ports(new) {
            Way::Reload { stages: Vec::new() }
        } else {
            Way::Restart
        }
    }
}

/// Keeps what passed, besides writing it.
struct Reports(FileReports, Arc<Mutex<Vec<Report>>>);

impl ReportSink for Reports {
    async fn publish(&mut self, report: &Report) -> Result<(), FileError> {
        self.1.lock().unwrap().push(report.clone());
        self.0.publish(report).await
    }
}

type Task = JoinHandle<Result<(), SupervisorError>>;

pub(super) struct Scene {
    _temporary: tempfile::TempDir,
    pub(super) directory: BrokerDirectory,
    pub(super) mosquitto: PathBuf,
    pub(super) reports: Arc<Mutex<Vec<Report>>>,
    end: Option<oneshot::Sender<()>>,
    task: Option<Task>,
    /// How often it is looked whether the broker takes what arrives.
    pub(super) work_look: Duration,
}

impl Scene {
    /// A directory, and a program that behaves like this version.
    pub(super) fn new(version: &str) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let directory = BrokerDirectory::new(temporary.path().join("a"));
        directory.create().unwrap();
        let mosquitto = temporary.path().join("mosquitto");
        let own = std::env::current_exe().unwrap();
        let script = format!(
            "#!/bin/sh\n\
             if [ \"$1\" = -h ]; then echo 'mosquitto version {version}'; exit 3; fi\n\
             if [ \"$3\" = --test-config ]; then\n\
               if grep -q bogus \"$2\"; then echo '1: Error: Unknown configuration variable.' >&2; exit 3; fi\n\
               exit 0\n\
             fi\n\
             {ARGUMENTS}=\"$2\" exec {} --exact supervisor::tests::scene::fake_broker --nocapture\n",
            own.display()
        );
        let draft = temporary.path().join("draft");
        fs::write(&draft, script).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
        // By another process, or a neighbouring test's fork may have it open for writing ("text file busy").
        assert!(
            Command::new("cp")
                .arg("-p")
                .arg(&draft)
                .arg(&mosquitto)
                .status()
                .unwrap()
                .success()
        );
        Self {
            _temporary: temporary,
            directory,
            mosquitto,
            reports: Arc::default(),
            end: None,
            task: None,
            work_look: WORK_LOOK,
        }
    }

    /// One whose broker runs its first configuration, which is given, too.
    pub(super) async fn begun(version: &str) -> (Self, String, Identity) {
        let mut scene = Self::new(version);
        let config = listener();
        scene.give(1, &config);
        scene.start();
        let broker = scene.running(1).await;
        (scene, config, broker)
    }

    pub(super) fn start(&mut self) {
        // What the last one said is no news of this one.
        files::remove(&self.directory.path().join(BrokerDirectory::REPORT)).unwrap();
        let (end, ended) = oneshot::channel();
        let attempt = || {
            let reports = Reports(FileReports::new(self.directory.clone()), self.reports.clone());
            let seams = (
                DirectorySource::new(self.directory.clone()),
                reports,
                NoAdministration,
            );
            Supervisor::begin(self.directory.clone(), &self.mosquitto, seams, FakeKnowledge)
        };
        let mut supervisor = attempt();
        // A neighbouring test's fork has the last one's lock until it becomes another program.
        for _ in 0..1000 {
            if !matches!(supervisor, Err(SupervisorError::Taken { .. })) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
            supervisor = attempt();
        }
        let mut supervisor = supervisor.unwrap();
        supervisor.work_look = self.work_look;
        let ended = async move { drop(ended.await) };
        let task = tokio::task::spawn_local(async move { supervisor.run_until(ended).await });
        self.end = Some(end);
        self.task = Some(task);
    }

    /// As SIGKILL would end a supervisor: nothing more is done.
    pub(super) async fn kill_supervisor(&mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }

    /// As SIGTERM ends it.
    pub(super) async fn stop(&mut self) {
        self.end.take().unwrap().send(()).unwrap();
        timeout(PATIENCE, self.task.take().unwrap())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }

    pub(super) async fn until(&self, what: impl Fn(&Report) -> bool) -> Report {
        let mut changes = crate::watch::Changes::of(self.directory.path(), [BrokerDirectory::REPORT]);
        let awaited = async {
            loop {
                if let Some(report) = self.directory.report().unwrap().filter(|report| what(report)) {
                    return report;
                }
                changes.next().await;
            }
        };
        let report = timeout(PATIENCE, awaited).await;
        report.unwrap_or_else(|_| panic!("last report: {:#?}", self.directory.report().unwrap()))
    }

    pub(super) async fn running(&self, epoch: u64) -> Identity {
        let report = self
            .until(|report| {
                report.loaded == Some(epoch) && matches!(report.process, ProcessState::Running { .. })
            })
            .await;
        Identity::of(report.process.pid().unwrap()).unwrap()
    }

    pub(super) fn give(&self, epoch: u64, config: &str) {
        self.directory
            .give(epoch, config, serde_json::Value::Null)
            .unwrap();
    }

    /// The configuration that the broker reads.
    pub(super) fn config(&self) -> String {
        fs::read_to_string(self.directory.config_file()).unwrap()
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.directory.log()).unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Ok(Some(broker)) = self.directory.broker() {
            let _ = broker.signal(Signal::KILL);
        }
    }
}

/// A port that was free a moment ago.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

pub(super) fn listener() -> String {
    format!("listener {}\n", free_port())
}

/// A current-thread runtime, as the supervisor has.
pub(super) fn story(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, story);
}
