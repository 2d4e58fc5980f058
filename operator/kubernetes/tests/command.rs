//! The program as a pod's container calls it.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::process::{Command, Output};

fn operator(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_skein-operator"))
        .args(words)
        .env_remove("KUBECONFIG")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env("HOME", "/nonexistent")
        .output()
        .unwrap()
}

fn complaint(ran: &Output) -> String {
    String::from_utf8_lossy(&ran.stderr).into_owned()
}

#[test]
fn install_copies_the_program_itself() {
    let folder = tempfile::tempdir().unwrap();
    let ran = operator(&["install", folder.path().to_str().unwrap()]);
    assert!(
        ran.status.success() && ran.stdout.is_empty(),
        "{}",
        complaint(&ran)
    );
    let copy = Command::new(folder.path().join("skein-operator"))
        .arg("--version")
        .output()
        .unwrap();
    assert_eq!(copy.stdout, operator(&["--version"]).stdout);

    let nowhere = folder.path().join("nowhere");
    let ran = operator(&["install", nowhere.to_str().unwrap()]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(
        complaint(&ran).contains("nowhere/skein-operator"),
        "{}",
        complaint(&ran)
    );
}

#[test]
fn outside_of_a_cluster_it_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_str().unwrap();
    let agent = ["agent", "--broker", "a", "--directory", directory];
    let controller = [
        "controller",
        "--image",
        "localhost/skein:1",
        "--listen",
        "127.0.0.1:0",
    ];
    for (words, lack) in [(agent, "no Kubernetes API is known"), (controller, "no cluster")] {
        let ran = operator(&words);
        assert_eq!(ran.status.code(), Some(1), "{words:?}");
        assert!(complaint(&ran).contains(lack), "{}", complaint(&ran));
    }
}

#[test]
fn the_help_teaches() {
    let help = operator(&["--help"]).stdout;
    let help = String::from_utf8(help).unwrap();
    for command in ["controller", "agent"] {
        assert!(
            help.contains(&format!("\n  {command} ")),
            "{command} is not in the help"
        );
        let own = operator(&[command, "--help"]).stdout;
        assert!(String::from_utf8(own).unwrap().contains("Example"), "{command}");
    }
    assert!(!help.contains("\n  install "), "what only a pod calls is hidden");
}

#[test]
fn a_flow_that_nobody_serves_is_said_to_be_none() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    let place = format!("127.0.0.1:{port}");
    let ran = operator(&[
        "test", "--from", &place, "--to", &place, "--topic", "a/b", "--within", "1s",
    ]);
    assert_eq!(ran.status.code(), Some(1));
    assert_eq!(
        complaint(&ran),
        format!(
            "error: nothing that is published as a/b at {place} is received at {place}: connection refused: nobody listens \
             there\n"
        )
    );
}
