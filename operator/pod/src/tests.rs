//! A pod from end to end, against an API and a Mosquitto that are none.

mod api;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use skein_agent::watch::Changes;
use skein_agent::{ProcessState, Report};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use api::{FakeApi, Mood, PATIENCE};
use skein_agent::seams::ReportSink as _;

/// What a Secret says that gives a configuration.
fn giving(epoch: u64) -> Value {
    let desired = json!({"epoch": epoch, "config": format!("# {epoch}\n"), "links": []});
    json!({"desired.json.gz": desired.to_string(), "users.json": "{}"})
}

/// A program that says which configuration it is started on, and does nothing until it is told to end.
fn mosquitto(folder: &Path) -> PathBuf {
    let script = "#!/bin/sh\n\
                  if [ \"$1\" = -h ]; then echo 'mosquitto version 2.1.2'; exit 3; fi\n\
                  if [ \"$3\" = --test-config ]; then exit 0; fi\n\
                  echo \"runs $(cat \"$2\")\"\n\
                  exec sleep 600\n";
    let (draft, program) = (folder.join("draft"), folder.join("mosquitto"));
    fs::write(&draft, script).unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
    // By another process, or a neighbouring test's fork may have it open for writing ("text file busy").
    let copied = Command::new("cp")
        .arg("-p")
        .args([&draft, &program])
        .status()
        .unwrap();
    assert!(copied.success());
    program
}

/// A pod at work.
struct Scene {
    _temporary: tempfile::TempDir,
    directory: BrokerDirectory,
    api: FakeApi,
    end: oneshot::Sender<()>,
    work: JoinHandle<(Result<(), PodError>, Vec<u8>)>,
}

impl Scene {
    fn begin(api: FakeApi, before: impl FnOnce(&BrokerDirectory)) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let directory = BrokerDirectory::new(temporary.path().join("skein"));
        directory.create().unwrap();
        before(&directory);
        let pod = Pod {
            client: api.client(),
            namespace: "fleet".to_owned(),
            broker: BrokerName::new("a").unwrap(),
            object: "a-skein".to_owned(),
            door: ([127, 0, 0, 1], 0).into(),
            directory: directory.clone(),
            mosquitto: mosquitto(temporary.path()),
            uid: "u-1".to_owned(),
        };
        let (end, ended) = oneshot::channel();
        let work = async move {
            let mut out = Vec::new();
            let ended = async {
                let _ = ended.await;
            };
            let done = pod.work(&mut out, ended).await;
            (done, out)
        };
        Self {
            _temporary: temporary,
            directory,
            api,
            end,
            work: tokio::task::spawn_local(work),
        }
    }

    /// Ends it, and gives what it wrote.
    async fn end(self) -> String {
        self.end.send(()).unwrap();
        let (done, out) = timeout(PATIENCE, self.work).await.unwrap().unwrap();
        done.unwrap();
        assert_eq!(self.directory.broker().unwrap(), None, "it took its broker along");
        String::from_utf8(out).unwrap()
    }
}

/// The supervisor's futures stay on one thread.
fn story(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, story);
}

fn runs(epoch: u64) -> impl Fn(&Value) -> bool {
    move |report| report["process"]["state"] == "running" && report["loaded"] == epoch
}

fn is(state: &str) -> impl Fn(&Value) -> bool {
    move |report| report["process"]["state"] == state
}

#[test]
fn the_broker_does_what_the_secret_says_and_the_config_map_says_what_it_does() {
    story(async {
        let scene = Scene::begin(FakeApi::new(), |_| {});
        let report = scene.api.reported(is("stopped")).await;
        assert_eq!(report["loaded"], Value::Null, "there is no Secret yet");
        scene.api.set_secret(Some(giving(1)));
        scene.api.reported(runs(1)).await;
        let mut held = giving(1);
        held["hold"] = json!("down");
        scene.api.set_secret(Some(held));
        scene.api.reported(is("held")).await;
        scene.api.set_secret(Some(giving(2)));
        scene.api.reported(runs(2)).await;
        scene.api.set_secret(None);
        scene.api.set_secret(Some(json!({})));
        scene.api.set_secret(Some(giving(3)));
        scene.api.reported(runs(3)).await;

        let api = scene.api.clone();
        let out = scene.end().await;
        let last = api.applied().pop().unwrap();
        assert_eq!(last.report()["process"]["state"], "stopped");
        assert_eq!(last.report()["loaded"], 3);
        assert_eq!(last.map["data"]["pod"], "u-1");
        assert_eq!(out, "runs # 1\nruns # 2\nruns # 3\n");
    });
}

#[test]
fn a_broker_that_never_ran_begins_with_what_the_secret_says() {
    story(async {
        let api = FakeApi::new();
        api.set_secret(Some(giving(1)));
        let scene = Scene::begin(api, |_| {});
        scene.api.reported(runs(1)).await;
        let reports: Vec<_> = scene.api.applied();
        let early: Vec<_> = reports
            .iter()
            .filter(|it| it.report()["loaded"].is_null())
            .collect();
        assert!(early.is_empty(), "{early:?}");
        scene.end().await;
    });
}

#[test]
fn a_broker_that_ran_before_needs_no_api() {
    story(async {
        let api = FakeApi::new();
        api.set_mood(Mood::Silent);
        let scene = Scene::begin(api, |directory| {
            directory.give(7, "# 7\n", Value::Null).unwrap();
        });
        let mut changes = Changes::of(scene.directory.path(), [BrokerDirectory::REPORT]);
        let running = async {
            loop {
                let report = scene.directory.report().unwrap();
                if let Some(report) = report.filter(|report| report.process.pid().is_some()) {
                    return report.loaded;
                }
                changes.next().await;
            }
        };
        assert_eq!(timeout(PATIENCE, running).await.unwrap(), Some(7));
        assert_eq!(scene.end().await, "runs # 7\n");
    });
}

#[test]
fn a_pod_that_is_told_to_end_before_it_began_ends() {
    story(async {
        let api = FakeApi::new();
        api.set_mood(Mood::Silent);
        let scene = Scene::begin(api, |_| {});
        scene.api.asked(1).await;
        let directory = scene.directory.clone();
        let began = tokio::time::Instant::now();
        assert_eq!(scene.end().await, "");
        assert!(began.elapsed() < FIRST, "it did not wait");
        assert_eq!(directory.report().unwrap(), None);
    });
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_brought_when_the_api_is_back() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = BrokerDirectory::new(temporary.path());
    directory.create().unwrap();
    let api = FakeApi::new();
    api.set_mood(Mood::Broken);
    api.set_secret(Some(giving(1)));
    let (arrived, first) = oneshot::channel();
    let secrets = Api::namespaced(api.client(), "fleet");
    let (told, _) = watch::channel(None);
    let courier = Courier::new(secrets, "a-skein", directory.clone(), arrived, told);
    let courier = tokio::spawn(courier.carry());
    api.asked(5).await;
    assert_eq!(directory.desired().unwrap(), None);
    api.set_mood(Mood::Well);
    // Virtual time: as long as it takes.
    first.await.unwrap();
    assert_eq!(directory.desired().unwrap().unwrap().epoch, 1);
    courier.abort();
}

fn report(restarts: u64) -> Report {
    Report {
        supervisor_pid: 1,
        process: ProcessState::Stopped,
        loaded: None,
        rejected: None,
        version: None,
        restarts,
        last_exit: None,
        all_barred: None,
        obstacle: None,
        started_at: None,
        at: 1,
    }
}

struct Posting {
    temporary: tempfile::TempDir,
    api: FakeApi,
    reports: Reports,
    newest: watch::Receiver<Option<Report>>,
    task: JoinHandle<()>,
}

/// Reports on their way to this API.
fn posting(api: FakeApi) -> Posting {
    let temporary = tempfile::tempdir().unwrap();
    let directory = BrokerDirectory::new(temporary.path());
    let (reports, newest) = Reports::new(FileReports::new(directory));
    let maps = Api::namespaced(api.client(), "fleet");
    Posting {
        temporary,
        task: tokio::spawn(post(maps, "a-skein".to_owned(), "u-1".to_owned(), newest.clone())),
        api,
        reports,
        newest,
    }
}

#[tokio::test(start_paused = true)]
async fn the_newest_report_gets_there_when_the_api_is_back() {
    for mood in [Mood::Broken, Mood::Silent] {
        let mut posting = posting(FakeApi::new());
        posting.api.set_mood(mood);
        posting.reports.publish(&report(1)).await.unwrap();
        posting.api.asked(3).await;
        posting.reports.publish(&report(2)).await.unwrap();
        // Whatever comes, this pod is about to end.
        drop(posting.reports);
        posting.api.asked(6).await;
        posting.api.set_mood(Mood::Well);
        posting.task.await.unwrap();
        let applied = posting.api.applied();
        assert_eq!(applied.len(), 1, "{mood:?}");
        assert_eq!(applied[0].report(), serde_json::to_value(report(2)).unwrap());
    }
}

#[tokio::test]
async fn a_report_is_applied_as_the_pods_own_field() {
    let mut posting = posting(FakeApi::new());
    posting.reports.publish(&report(1)).await.unwrap();
    drop(posting.reports);
    posting.task.await.unwrap();
    let applied = posting.api.applied().pop().unwrap();
    let query: Vec<_> = applied.query.split('&').filter(|pair| !pair.is_empty()).collect();
    assert!(query.contains(&"force=true"), "{query:?}");
    assert!(query.contains(&"fieldManager=skein-pod"), "{query:?}");
    assert_eq!(applied.map["kind"], "ConfigMap");
    let keys: Vec<_> = applied.map["data"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["pod", "report.json"]);
}

#[tokio::test]
async fn a_full_disk_keeps_no_report_from_the_api_and_makes_none_of_its_own() {
    let mut posting = posting(FakeApi::new());
    // As good as full: there is no directory.
    posting.temporary.close().unwrap();
    let mut report = report(1);
    posting.reports.publish(&report).await.unwrap_err();
    posting.api.reported(|report| report["restarts"] == 1).await;
    let mut newest = posting.newest;
    newest.mark_unchanged();
    report.at += 1;
    posting.reports.publish(&report).await.unwrap_err();
    assert!(!newest.has_changed().unwrap(), "only tried again later");
    report.restarts += 1;
    posting.reports.publish(&report).await.unwrap_err();
    assert!(newest.has_changed().unwrap());
    posting.task.abort();
}
