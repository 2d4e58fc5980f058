//! The supervisor against a broker that is this very test program: see [`scene::fake_broker`].

mod scene;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use skein_mosquitto::security::{FleetSecret, Security, downstream_of, read, render};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::steps::pause;
use super::*;
use crate::process::write_config;
use scene::{FakeKnowledge, PATIENCE, Scene, listener, story};

/// Waits until a process is stopped in its tracks: the kernel may take a moment after the signal.
async fn stands_still(pid: u32) {
    let awaited = async {
        while state(pid) != 'T' {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, awaited).await.unwrap();
}

/// The state letter of a process.
fn state(pid: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

#[test]
fn a_dead_broker_is_started_again_at_once() {
    story(async {
        let (mut scene, _, first) = Scene::begun("2.1.2").await;
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
        let (scene, _, _) = Scene::begun("2.1.2").await;
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
            let (scene, good, broker) = Scene::begun(version).await;
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
            assert_eq!(scene.config(), good);
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
fn a_broker_starts_with_whom_the_last_one_barred_and_bars_all_if_that_is_unknown() {
    story(async {
        let mut scene = Scene::new("2.1.2");
        let file = scene.directory.security_file();
        let config = format!("{}plugin_opt_config_file {}\n", listener(), file.display());
        scene.give(1, &config);
        scene.start();
        // Without users no broker is touched.
        let report = scene.until(|report| report.rejected.is_some()).await;
        assert!(report.rejected.unwrap().reason.contains("users.json"));
        assert!(!file.exists());

        let secret = FleetSecret::new([7; 32]);
        let [a, b] = ["skein:a", "skein:b"].map(|user| downstream_of(user).unwrap());
        let users = Security::derived(&secret, &b, [&a], true);
        scene.directory.set_users(&users).unwrap();
        fs::write(&file, render(&users)).unwrap();
        let broker = scene.running(1).await;
        let left = || read(&fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(left().barred().count(), 0);
        let mut barring = users.clone();
        barring.bar_all();
        fs::write(&file, render(&barring)).unwrap();
        broker.signal(Signal::KILL).unwrap();
        let report = scene
            .until(|report| report.restarts == 1 && report.process.pid().is_some())
            .await;
        assert_eq!((left(), report.all_barred), (barring.clone(), None));

        fs::write(&file, "{").unwrap();
        scene.running(1).await.signal(Signal::KILL).unwrap();
        let report = scene
            .until(|report| report.restarts == 2 && report.process.pid().is_some())
            .await;
        assert_eq!(left(), barring);
        assert!(report.all_barred.is_some());
        // It is over with the next start.
        scene.running(1).await.signal(Signal::KILL).unwrap();
        let report = scene
            .until(|report| report.restarts == 3 && report.process.pid().is_some())
            .await;
        assert_eq!((left(), report.all_barred), (barring, None));
    });
}

#[test]
fn a_reload_keeps_the_process_and_a_restart_does_not() {
    story(async {
        let (scene, config, first) = Scene::begun("2.1.2").await;
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
        let (scene, good, _) = Scene::begun("2.1.2").await;
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
        assert_eq!(scene.config(), good);
        assert_eq!(scene.directory.loaded().unwrap().unwrap().epoch, 1);
    });
}

#[test]
fn a_death_of_the_reload_is_healed_by_a_start() {
    story(async {
        let (scene, config, first) = Scene::begun("2.1.2").await;
        scene.give(2, &format!("{config}dies_of_reload\n"));
        // It may have been seen to run by the new one before it died of that.
        let is_another = |report: &Report| report.process.pid().is_some_and(|pid| pid != first.pid);
        scene
            .until(|report| report.loaded == Some(2) && is_another(report))
            .await;
    });
}

#[test]
fn held_down_it_stays_down_and_starts_on_the_newest_configuration() {
    story(async {
        let (scene, config, first) = Scene::begun("2.1.2").await;
        scene.directory.hold(Hold::Down).unwrap();
        scene.until(|report| report.process == ProcessState::Held).await;
        assert!(!first.is_alive());
        scene.give(2, &format!("{config}more\n"));
        let report = scene.until(|report| report.loaded == Some(2)).await;
        assert_eq!(report.process, ProcessState::Held);
        scene.directory.mend().unwrap();
        scene.running(2).await;
        assert!(scene.config().ends_with("more\n"));
    });
}

#[test]
fn what_was_given_while_held_and_kills_the_broker_is_taken_back() {
    story(async {
        let (scene, _, _) = Scene::begun("2.1.2").await;
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
        let (scene, config, broker) = Scene::begun("2.1.2").await;
        scene.directory.hold(Hold::Hang).unwrap();
        scene
            .until(|report| report.process == ProcessState::Hung { pid: broker.pid })
            .await;
        stands_still(broker.pid).await;
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

/// A broker that is looked at often, and a client to it.
async fn looked_at_often() -> (Scene, Identity, TcpStream) {
    let mut scene = Scene::new("2.1.2");
    scene.work_look = Duration::from_millis(20);
    let config = listener();
    scene.give(1, &config);
    scene.start();
    let broker = scene.running(1).await;
    let port = *ready::ports(&config).first().unwrap();
    let client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    (scene, broker, client)
}

#[test]
fn a_broker_that_takes_nothing_any_more_is_restarted() {
    story(async {
        let (scene, broker, mut client) = looked_at_often().await;
        broker.signal(Signal::STOP).unwrap();
        stands_still(broker.pid).await;
        client.write_all(b"anybody there?").await.unwrap();
        let report = scene
            .until(|report| report.restarts == 1 && report.process.pid().is_some())
            .await;
        assert_ne!(report.process.pid(), Some(broker.pid));
        let exit = report.last_exit.unwrap();
        assert_eq!(
            (exit.code, exit.signal),
            (Some(0), None),
            "it was woken to save what it has"
        );
    });
}

#[test]
fn one_that_serves_others_is_left_alone_though_one_connection_waits() {
    story(async {
        let (scene, broker, mut client) = looked_at_often().await;
        // The fake broker takes connections and never reads.
        client.write_all(b"anybody there?").await.unwrap();
        let asked = async {
            while !scene.log().contains("a connection was given up") {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, asked).await.unwrap();
        // The next one would restart it, if the answer had not been heard.
        client.write_all(b"anybody there?").await.unwrap();
        let again = async {
            while scene.log().matches("a connection was given up").count() < 2 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, again).await.unwrap();
        assert!(broker.is_alive());
        assert_eq!(scene.until(|_| true).await.restarts, 0);
    });
}

#[test]
fn a_killed_supervisors_broker_is_taken_over() {
    story(async {
        let (mut scene, config, broker) = Scene::begun("2.1.2").await;
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
        let (mut scene, config, broker) = Scene::begun("2.1.2").await;
        scene.kill_supervisor().await;
        // It died after it told the broker to reload, and what was wanted is not wanted any more.
        write_config(&scene.directory, &format!("{config}more\n")).unwrap();
        scene.start();
        let report = scene
            .until(|report| report.process.pid().is_some_and(|pid| pid != broker.pid))
            .await;
        assert_eq!(report.loaded, Some(1));
        assert_eq!(scene.config(), config);
    });
}

#[test]
fn a_directory_has_one_supervisor() {
    story(async {
        let (scene, _, _) = Scene::begun("2.1.2").await;
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
