//! Manifests that are wrong, and what their author is told. Each file in `cases/` is a chapter of short stories; the
//! snapshot beside it shows each one's text with line numbers, and every problem found in it.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test that panics has failed, as it should.

use std::fmt::Write;

use skein_api::manifest::{Severity, Source, load};

const BASE: &str = include_str!("cases/base.yaml");

/// `@Topic soil` in a case stands for the three lines that every object starts with.
fn expand(case: &str) -> String {
    let mut text = String::new();
    for line in case.lines() {
        match line.strip_prefix('@').and_then(|head| head.split_once(' ')) {
            Some((kind, name)) => {
                let head = "apiVersion: mqtt.skein.dev/v1alpha1";
                writeln!(text, "{head}\nkind: {kind}\nmetadata: {{name: {name}}}").unwrap();
            }
            None => writeln!(text, "{line}").unwrap(),
        }
    }
    text
}

fn tell(chapter: &str) -> String {
    let mut told = String::new();
    for story in chapter.split("### ").skip(1) {
        let (title, case) = story.split_once('\n').unwrap();
        let text = expand(case.trim_end());
        let loaded = load(&[
            Source {
                path: "base.yaml",
                text: BASE,
            },
            Source {
                path: "it.yaml",
                text: &text,
            },
        ]);
        writeln!(told, "### {title}").unwrap();
        for (index, line) in text.lines().enumerate() {
            writeln!(told, "{:>4} | {line}", index + 1).unwrap();
        }
        for problem in &loaded.problems {
            writeln!(told, "-> {problem}").unwrap();
        }
        let failed = loaded
            .problems
            .iter()
            .any(|problem| problem.severity == Severity::Error);
        assert_eq!(
            loaded.fleet.is_none(),
            failed,
            "{title}: an error and only an error means no fleet"
        );
        assert!(!loaded.problems.is_empty(), "{title}: nothing was found");
        told.push('\n');
    }
    told
}

macro_rules! chapters {
    ($($name:ident)+) => {$(
        #[test]
        fn $name() {
            insta::assert_snapshot!(tell(include_str!(concat!("cases/", stringify!($name), ".txt"))));
        }
    )+};
}

chapters! { syntax envelope shape broker route topic migration }

#[test]
fn the_base_of_every_case_has_no_problem() {
    assert_eq!(
        load(&[Source {
            path: "base.yaml",
            text: BASE
        }])
        .problems,
        []
    );
}

#[test]
fn an_empty_directory_is_no_fleet() {
    let loaded = load(&[]);
    assert!(loaded.fleet.is_none());
    assert!(
        loaded.problems[0].message.contains("no Broker"),
        "{:?}",
        loaded.problems
    );
}

#[test]
fn ten_mistakes_in_one_file_are_told_at_once_each_on_its_line() {
    let text = include_str!("cases/ten.yaml");
    let loaded = load(&[Source {
        path: "ten.yaml",
        text,
    }]);
    let marked: Vec<u32> = (1..)
        .zip(text.lines())
        .filter(|(_, line)| line.contains("# wrong"))
        .map(|(n, _)| n)
        .collect();
    let told: Vec<u32> = loaded.problems.iter().map(|problem| problem.line).collect();
    assert_eq!(marked.len(), 10);
    assert_eq!(
        told,
        marked,
        "{:#?}",
        loaded
            .problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_problem_has_a_stable_shape_for_programs() {
    let loaded = load(&[Source {
        path: "it.yaml",
        text: "kind: Brokr",
    }]);
    insta::assert_json_snapshot!(loaded.problems);
}
