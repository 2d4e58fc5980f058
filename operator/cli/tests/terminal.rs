//! The `skein` binary at a terminal and in a pipe: colours, help, completions, and readers that go away.

#![allow(clippy::unwrap_used, clippy::panic, clippy::format_push_string)] // It is all test.

mod common;

use std::fs;

use common::{APART, BAD, command, left_behind, manifests, ran, sample, shown, skein};

#[test]
fn colours_are_for_terminals() {
    for arguments in [
        &["plan", "-f", &sample("farm")][..],
        &["--help"],
        &["explain", "broker/i", "-f", &sample("farm")],
        &["diff", &sample("farm"), &sample("twins")],
        &["diff", &sample("farm"), &sample("twins"), "--steps"],
    ] {
        let ran = skein(arguments);
        assert!(
            !ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'),
            "{arguments:?}"
        );
    }
}

#[test]
fn help_shows_examples_and_exit_codes() {
    let help = skein(&["--help"]);
    assert_eq!(help.code, 0);
    assert!(
        help.out.contains("Exit codes:") && help.out.contains("skein up -f"),
        "{}",
        help.out
    );
    for command in [
        "plan",
        "check",
        "explain",
        "diff",
        "graph",
        "render",
        "up",
        "status",
        "break",
        "mend",
        "drain",
        "undrain",
        "approve",
        "completions",
    ] {
        assert!(
            help.out.contains(&format!("\n  {command} ")),
            "{command} is not in the help"
        );
        let own = skein(&[command, "--help"]);
        assert!(own.out.contains("Example"), "{command}");
    }
    assert!(
        !help.out.contains("\n  supervise "),
        "what only `skein up` calls is hidden"
    );
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = skein(&["completions", shell]);
        assert_eq!(ran.code, 0);
        assert!(
            ran.out.contains("explain") && ran.out.contains("undrain") && ran.out.contains("abandon"),
            "{shell}"
        );
    }
}

/// A pipe that nobody reads any more.
fn closed() -> std::io::PipeWriter {
    let (_, writer) = std::io::pipe().unwrap();
    writer
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (farm, state, out) = (sample("farm"), left_behind(), tempfile::tempdir().unwrap());
    let (farm, state, out) = (farm.as_str(), shown(state.path()), shown(out.path()));
    for arguments in [
        &["completions", "bash"][..],
        &["completions", "fish"],
        &["--help"],
        &["plan", "--help"],
        &["--version"],
        &["plan", "-f", farm],
        &["plan", "-f", farm, "-o", "json"],
        &["plan", "-f", farm, "-o", "yaml"],
        &["plan", "-f", farm, "--roles"],
        &["check", "-f", farm],
        &["explain", "topic/soil", "-f", farm],
        &["explain", "broker/a", "-f", farm],
        &["explain", "route/a-b", "-f", farm],
        &["diff", farm, farm],
        &["diff", farm, farm, "--steps"],
        &["graph", "-f", farm],
        &["render", out, "-f", farm],
        &["status", "--state", state],
        &["status", "--state", state, "--watch"],
        &["status", "--state", state, "--watch", "-o", "yaml"],
        &["break", "c", "--state", state],
        &["mend", "c", "--state", state],
        &["undrain", "--help"],
    ] {
        let ran = ran(command(arguments).stdout(closed()));
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn an_exit_code_needs_no_reader() {
    let (apart, bad) = (manifests(APART), manifests(BAD));
    for (arguments, code) in [
        (&["plan", "-f", shown(apart.path())][..], 1),
        (&["diff", &sample("farm"), &sample("twins"), "--exit-code"], 1),
        (&["status"], 1),
        (&["plan", "-f", shown(bad.path())], 2),
        (&["frobnicate"], 2),
    ] {
        let unread = ran(command(arguments).stdout(closed()).stderr(closed()));
        assert_eq!(unread.code, code, "{arguments:?}");
        let full = fs::File::create("/dev/full").unwrap();
        let unwritten = ran(command(arguments).stdout(closed()).stderr(full));
        assert_eq!(unwritten.code, code, "{arguments:?} on a full disk");
    }
}
