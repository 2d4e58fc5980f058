//! The supervisor against a broker that is this very test program: see [`fake_broker`].

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use skein_mosquitto::transition::Action;

use super::steps::pause;
use super::*;
use crate::process::write_config;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// Set for a process that is the broker, not the tests.
const ARGUMENTS: &str = "SKEIN_FAKE_BROKER";

/// Not a test but the broker of the tests below: when they run this program again with its arguments in the environment,
/// it listens where its configuration says (`listener PORT`), reads it again on SIGHUP, ends on SIGTERM, and dies of a
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
        let bind = |port| TcpListener::bind(("127.0.0.1", port)).unwrap();
        let _listeners: Vec<TcpListener> = ready::ports(&text).into_iter().map(bind).collect();
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

/// Knows what the fake broker needs: a changed listener takes a restart, all else a reload.
struct FakeKnowledge;

impl Knowledge for FakeKnowledge {
    fn objection(&self, config: &str) -> Option<String> {
        config
            .contains("bogus")
            .then(|| "the parser does not like it".to_owned())
    }

    fn action(&self, old: &str, new: &str, _: Version) -> Action {
        if ready::ports(old) == ready::ports(new) {
            Action::Reload
        } else {
            Action::Restart
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

struct Scene {
    _temporary: tempfile::TempDir,
    directory: BrokerDirectory,
    mosquitto: PathBuf,
    reports: Arc<Mutex<Vec<Report>>>,
    end: Option<oneshot::Sender<()>>,
    task: Option<Task>,
}

impl Scene {
    /// A directory, and a program that behaves like this version.
    fn new(version: &str) -> Self {
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
             {ARGUMENTS}=\"$2\" exec {} --exact supervisor::tests::fake_broker --nocapture\n",
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
        }
    }

    fn start(&mut self) {
        // What the last one said is no news of this one.
        files::remove(&self.directory.path().join(BrokerDirectory::REPORT)).unwrap();
        let (end, ended) = oneshot::channel();
        let reports = Reports(FileReports::new(self.directory.clone()), self.reports.clone());
        let seams = (
            DirectorySource::new(self.directory.clone()),
            reports,
            NoAdministration,
        );
        let mut supervisor =
            Supervisor::begin(self.directory.clone(), &self.mosquitto, seams, FakeKnowledge).unwrap();
        let ended = async move { drop(ended.await) };
        let task = tokio::task::spawn_local(async move { supervisor.run_until(ended).await });
        self.end = Some(end);
        self.task = Some(task);
    }

    /// As SIGKILL would end a supervisor: nothing more is done.
    async fn kill_supervisor(&mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }

    /// As SIGTERM ends it.
    async fn stop(&mut self) {
        self.end.take().unwrap().send(()).unwrap();
        timeout(PATIENCE, self.task.take().unwrap())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }

    async fn until(&self, what: impl Fn(&Report) -> bool) -> Report {
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

    async fn running(&self, epoch: u64) -> Identity {
        let report = self
            .until(|report| {
                report.loaded == Some(epoch) && matches!(report.process, ProcessState::Running { .. })
            })
            .await;
        Identity::of(report.process.pid().unwrap()).unwrap()
    }

    fn give(&self, epoch: u64, config: &str) {
        self.directory
            .give(epoch, config, serde_json::Value::Null)
            .unwrap();
    }

    fn log(&self) -> String {
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
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn listener() -> String {
    format!("listener {}\n", free_port())
}

/// A current-thread runtime, as the supervisor has.
fn story(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, story);
}

/// The state letter of a process.
fn state(pid: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

#[test]
fn a_dead_broker_is_started_again_at_once() {
    story(async {
        let mut scene = Scene::new("2.1.2");
        scene.give(1, &listener());
        scene.start();
        let first = scene.running(1).await;
        first.signal(Signal::KILL).unwrap();
        let report = scene
            .until(|report| report.restarts == 1 && report.process.pid().is_some())
            .await;
        assert_ne!(report.process.pid(), Some(first.pid));
        assert_eq!(report.last_exit.unwrap().signal, Some(9));
        assert!(!first.is_alive());
        scene.stop().await;
        let report = scene
            .until(|report| report.process == ProcessState::Stopped)
            .await;
        assert_eq!(report.loaded, Some(1));
        assert_eq!(
            scene.directory.broker().unwrap(),
            None,
            "it took its broker along"
        );
    });
}

#[test]
fn pauses_grow_from_the_second_quick_death_on() {
    let pauses: Vec<u128> = (0..=10)
        .map(|deaths| pause(deaths).map_or(0, |pause| pause.as_millis()))
        .collect();
    assert_eq!(pauses, [0, 0, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    assert_eq!(pause(u32::MAX), Some(LONGEST_PAUSE));
}

#[test]
fn a_broker_that_keeps_dying_does_not_spin() {
    story(async {
        let mut scene = Scene::new("2.1.2");
        let config = listener();
        scene.give(1, &config);
        scene.start();
        scene.running(1).await;
        // From now on it dies at every start, for a reason that is not in its configuration.
        let script = fs::read_to_string(&scene.mosquitto).unwrap();
        let broken = script.replace("SKEIN_FAKE_BROKER=", "exit 7; X=");
        let draft = scene.mosquitto.with_extension("draft");
        fs::write(&draft, broken).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&draft, &scene.mosquitto).unwrap();
        scene
            .directory
            .broker()
            .unwrap()
            .unwrap()
            .signal(Signal::KILL)
            .unwrap();
        // One was killed, the next needs no pause yet, then 10 + 20 + 40 + 80 + 160 ms.
        let begin = Instant::now();
        scene.until(|report| report.restarts >= 8).await;
        assert!(
            begin.elapsed() >= Duration::from_millis(300),
            "{:?}",
            begin.elapsed()
        );
        assert_eq!(scene.until(|_| true).await.last_exit.unwrap().code, Some(7));
    });
}

#[test]
fn a_refused_configuration_changes_nothing() {
    story(async {
        for version in ["2.1.2", "2.0.11"] {
            let mut scene = Scene::new(version);
            let good = listener();
            scene.give(1, &good);
            scene.start();
            let broker = scene.running(1).await;
            scene.give(2, &format!("{good}bogus\n"));
            let report = scene.until(|report| report.rejected.is_some()).await;
            assert_eq!((report.loaded, report.process.pid()), (Some(1), Some(broker.pid)));
            let rejected = report.rejected.unwrap();
            assert_eq!(rejected.epoch, 2);
            let words = if version == "2.1.2" {
                "Unknown configuration variable"
            } else {
                "parser"
            };
            assert!(rejected.reason.contains(words), "{}", rejected.reason);
            assert_eq!(fs::read_to_string(scene.directory.config_file()).unwrap(), good);
            // A file that is not there is not left to the broker to find out.
            scene.give(3, &format!("{good}acl_file /nowhere/acl\n"));
            let report = scene
                .until(|report| report.rejected.as_ref().is_some_and(|r| r.epoch == 3))
                .await;
            assert!(report.rejected.unwrap().reason.contains("/nowhere/acl"));
            assert!(broker.is_alive() && !scene.log().contains("Reloading"));
            // What is good again is taken, and nothing is held against it.
            scene.give(4, &format!("{good}more\n"));
            let report = scene.until(|report| report.loaded == Some(4)).await;
            assert_eq!((report.rejected, report.process.pid()), (None, Some(broker.pid)));
        }
    });
}

#[test]
fn a_reload_keeps_the_process_and_a_restart_does_not() {
    story(async {
        let mut scene = Scene::new("2.1.2");
        let config = listener();
        scene.give(1, &config);
        scene.start();
        let first = scene.running(1).await;
        scene.give(2, &format!("{config}connection x\n"));
        assert_eq!(scene.running(2).await, first);
        assert!(scene.log().contains("Reloading config."));
        scene.give(3, &listener());
        let second = scene.running(3).await;
        assert_ne!(second, first);
        let loaded = scene.directory.loaded().unwrap().unwrap();
        assert_eq!(loaded, scene.directory.desired().unwrap().unwrap());
    });
}

#[test]
fn what_kills_the_broker_at_its_start_is_taken_back() {
    story(async {
        let mut scene = Scene::new("2.1.2");
        let good = listener();
        scene.give(1, &good);
        scene.start();
        scene.running(1).await;
        scene.give(2, &format!("{}dies\n", listener()));
        let report = scene
            .until(|report| report.rejected.is_some() && report.process.pid().is_some())
            .await;
        assert_eq!(report.loaded, Some(1));
        let reason = report.rejected.unwrap().reason;
        assert_eq!(
            reason,
            "the broker exited with status 3 at its start: Error: this one dies."
        );
        assert_eq!(fs::read_to_string(scene.directory.config_file()).unwrap(), good);
        assert_eq!(scene.directory.loaded().unwrap().unwrap().epoch, 1);
    });
}

#[test]
fn a_death_of_the_reload_is_healed_by_a_start() {
    story(async {
        let mut scene = Scene::new("2.1.2");
        let config = listener();
        scene.give(1, &config);
        scene.start();
        let first = scene.running(1).await;
        scene.give(2, &format!("{config}dies_of_reload\n"));
        assert_ne!(scene.running(2).await, first);
    });
}

#[test]
fn held_down_it_stays_down_and_starts_on_the_newest_configuration() {
    story(async {
        let mut scene = Scene::new("2.1.2");
        let config = listener();
        scene.give(1, &config);
        scene.start();
        let first = scene.running(1).await;
        scene.directory.hold(Hold::Down).unwrap();
        scene.until(|report| report.process == ProcessState::Held).await;
        assert!(!first.is_alive());
        scene.give(2, &format!("{config}more\n"));
        let report = scene.until(|report| report.loaded == Some(2)).await;
        assert_eq!(report.process, ProcessState::Held);
        scene.directory.mend().unwrap();
        scene.running(2).await;
        assert!(
            fs::read_to_string(scene.directory.config_file())
                .unwrap()
                .ends_with("more\n")
        );
    });
}

#[test]
fn what_was_given_while_held_and_kills_the_broker_is_taken_back() {
    story(async {
        let mut scene = Scene::new("2.1.2");
        scene.give(1, &listener());
        scene.start();
        scene.running(1).await;
        scene.directory.hold(Hold::Down).unwrap();
        scene.give(2, &format!("{}dies\n", listener()));
        scene.until(|report| report.loaded == Some(2)).await;
        scene.directory.mend().unwrap();
        scene.running(1).await;
        let report = scene.until(|report| report.rejected.is_some()).await;
        assert_eq!(report.rejected.unwrap().epoch, 2);
    });
}

#[test]
fn hung_it_takes_nothing_until_it_is_mended() {
    story(async {
        let mut scene = Scene::new("2.1.2");
        let config = listener();
        scene.give(1, &config);
        scene.start();
        let broker = scene.running(1).await;
        scene.directory.hold(Hold::Hang).unwrap();
        scene
            .until(|report| report.process == ProcessState::Hung { pid: broker.pid })
            .await;
        assert_eq!(state(broker.pid), 'T');
        scene.give(2, &format!("{config}more\n"));
        scene.directory.mend().unwrap();
        assert_eq!(scene.running(2).await, broker);
        assert_ne!(state(broker.pid), 'T');
        let during: Vec<Report> = scene.reports.lock().unwrap().clone();
        assert!(
            during.iter().all(|report| report.loaded == Some(1)
                || matches!(report.process, ProcessState::Running { .. })
                || report.loaded.is_none()),
            "{during:#?}"
        );
    });
}

#[test]
fn a_killed_supervisors_broker_is_taken_over() {
    story(async {
        let mut scene = Scene::new("2.1.2");
        let config = listener();
        scene.give(1, &config);
        scene.start();
        let broker = scene.running(1).await;
        scene.kill_supervisor().await;
        scene.give(2, &format!("{config}more\n"));
        assert!(broker.is_alive());
        scene.start();
        assert_eq!(scene.running(2).await, broker, "reloaded, not restarted");
        broker.signal(Signal::KILL).unwrap();
        let report = scene
            .until(|report| report.restarts == 1 && report.process.pid().is_some())
            .await;
        assert_eq!(
            report.last_exit.unwrap().signal,
            None,
            "it was nobody's child any more"
        );
        // Once more, dead meanwhile.
        let broker = Identity::of(report.process.pid().unwrap()).unwrap();
        scene.kill_supervisor().await;
        broker.signal(Signal::KILL).unwrap();
        broker.wait_exit().await.unwrap();
        scene.start();
        assert_ne!(scene.running(2).await, broker);
    });
}

#[test]
fn a_change_that_the_last_supervisor_did_not_finish_is_undone() {
    story(async {
        let mut scene = Scene::new("2.1.2");
        let config = listener();
        scene.give(1, &config);
        scene.start();
        let broker = scene.running(1).await;
        scene.kill_supervisor().await;
        // It died after it told the broker to reload, and what was wanted is not wanted any more.
        write_config(&scene.directory, &format!("{config}more\n")).unwrap();
        scene.start();
        let report = scene
            .until(|report| report.process.pid().is_some_and(|pid| pid != broker.pid))
            .await;
        assert_eq!(report.loaded, Some(1));
        assert_eq!(fs::read_to_string(scene.directory.config_file()).unwrap(), config);
    });
}

#[test]
fn a_directory_has_one_supervisor() {
    story(async {
        let mut scene = Scene::new("2.1.2");
        scene.give(1, &listener());
        scene.start();
        scene.running(1).await;
        let seams = (
            DirectorySource::new(scene.directory.clone()),
            FileReports::new(scene.directory.clone()),
            NoAdministration,
        );
        let second = Supervisor::begin(scene.directory.clone(), &scene.mosquitto, seams, FakeKnowledge);
        let error = second.map(|_| ()).unwrap_err();
        assert!(
            matches!(error, SupervisorError::Taken { pid: Some(_), .. }),
            "{error}"
        );
    });
}

#[test]
fn a_first_configuration_that_fails_is_tried_again() {
    story(async {
        let mut scene = Scene::new("2.1.2");
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        scene.give(1, &format!("listener {}\n", taken.local_addr().unwrap().port()));
        scene.start();
        let report = scene.until(|report| report.rejected.is_some()).await;
        assert_eq!((report.loaded, report.process), (None, ProcessState::Restarting));
        drop(taken);
        scene.running(1).await;
        assert_eq!(scene.until(|_| true).await.rejected, None);
    });
}
