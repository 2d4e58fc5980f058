//! Whatever a file holds, loading it returns; and what it returns depends on the text alone.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test that panics has failed, as it should.

use proptest::prelude::*;
use skein_api::manifest::{Loaded, Source, load};

fn read(text: &str) -> Loaded {
    load(&[Source {
        path: "it.yaml",
        text,
    }])
}

/// What must hold of any text.
fn sound(text: &str) -> Result<(), TestCaseError> {
    let loaded = read(text);
    prop_assert_eq!(loaded.fleet.is_none(), loaded.has_errors());
    let lines = u32::try_from(text.split(['\n', '\r']).count()).unwrap();
    for problem in &loaded.problems {
        prop_assert!(
            (1..=lines).contains(&problem.line),
            "no line {} in {text:?}",
            problem.line
        );
        prop_assert!(problem.column >= 1 && !problem.message.is_empty() && !problem.remedy.is_empty());
    }
    prop_assert!(
        loaded
            .problems
            .is_sorted_by_key(|problem| (problem.line, problem.column))
    );
    prop_assert_eq!(read(text).problems, loaded.problems);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_return(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        sound(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn anything_that_looks_like_yaml_returns(text in "[a-z0-9:{}\\[\\],&*!|>'\"#%@<\\-? \t\n\u{e9}\u{1f600}]{0,200}") {
        sound(&text)?;
    }

    #[test]
    fn a_manifest_with_slips_returns(
        slips in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), "[a-z0-9:{}\\[\\],&*\"\\- \n]{0,3}"), 1..6)
    ) {
        let mut text = include_str!("examples/full.yaml").to_owned();
        for (start, length, insert) in slips {
            let start = start.index(text.len());
            let end = (start + length.index(6)).min(text.len());
            text.replace_range(start..end, &insert);
        }
        sound(&text)?;
    }
}

#[test]
fn deep_nesting_is_refused_without_exhausting_the_stack() {
    for text in [
        "[".repeat(200_000),
        "{a: ".repeat(200_000),
        "- ".repeat(200_000),
        "? ".repeat(50_000),
    ] {
        let loaded = read(&text);
        assert!(loaded.has_errors());
    }
}

#[test]
fn a_few_lines_of_aliases_do_not_become_gigabytes() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        text.extend([format!(
            "a{level}: &a{level} [{}]\n",
            below.trim_end_matches(", ")
        )]);
    }
    let loaded = read(&text);
    assert!(
        loaded
            .problems
            .iter()
            .any(|problem| problem.message.contains("aliases")),
        "{:?}",
        loaded.problems
    );
}

#[test]
fn ten_thousand_topics_load() {
    let mut text = String::from(
        "apiVersion: mqtt.skein.dev/v1alpha1\nkind: Broker\nmetadata: {name: a}\nspec: {managed: {allowAnonymous: true}}\n",
    );
    for number in 0..10_000 {
        text.extend([format!(
            "---\napiVersion: mqtt.skein.dev/v1alpha1\nkind: Topic\nmetadata: {{name: t{number}}}\nspec: {{filter: t/{number}/#, \
             producers: [{{broker: a}}], consumers: [{{broker: a}}]}}\n"
        )]);
    }
    let fleet = read(&text).fleet.expect("all is well");
    assert_eq!(fleet.topics.len(), 10_000);
}
