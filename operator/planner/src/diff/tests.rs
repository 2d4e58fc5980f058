//! What a reviewer reads after an edit.

use skein_api::fleet::{Fleet, FleetBuilder};

use super::*;
use crate::plan::View;

fn farm() -> FleetBuilder {
    FleetBuilder::new()
        .routes("a-b a-d a-e b-c e-f c-i f-g g-i")
        .topic("soil", "farm/+/soil", "i", "a")
}

fn between(old: &Fleet, new: &Fleet) -> Diff {
    let before = crate::plan(old, &View::default());
    let view = View {
        previous_classes: before.class_names(),
        ..View::default()
    };
    diff(&before, &crate::plan(new, &view))
}

#[test]
fn nothing_changed_is_nothing_to_read() {
    let found = between(&farm().build(), &farm().build());
    assert!(found.is_empty());
    assert_eq!(found.to_string(), "");
}

#[test]
fn a_paused_route_moves_the_path() {
    let found = between(&farm().build(), &farm().paused("b-c").build());
    insta::assert_snapshot!(found);
}

#[test]
fn an_archive_of_everything_merges_classes() {
    let fleet = || farm().topic("wind", "farm/+/wind", "i", "e");
    let found = between(
        &fleet().build(),
        &fleet().topic("archive", "farm/#", "i", "b").build(),
    );
    let class = &found.classes[0];
    assert_eq!(class.fate, ClassFate::Merged);
    assert_eq!(class.gained.len(), 1);
    insta::assert_snapshot!(found);
}

#[test]
fn without_it_they_split_again() {
    let fleet = || farm().topic("wind", "farm/+/wind", "i", "e");
    let found = between(
        &fleet().topic("archive", "farm/#", "i", "b").build(),
        &fleet().build(),
    );
    assert_eq!(
        found.classes.iter().map(|change| change.fate).collect::<Vec<_>>(),
        [ClassFate::Split]
    );
}

#[test]
fn a_new_topic_is_a_new_class_and_an_old_one_is_missed() {
    let found = between(&farm().build(), &farm().topic("wind", "wind", "i", "e").build());
    assert!(
        found.to_string().starts_with("+ class wind\n+ path wind: e ← "),
        "{found}"
    );

    let back = between(&farm().topic("wind", "wind", "i", "e").build(), &farm().build());
    assert!(
        back.to_string().starts_with("- class wind\n- path wind: e ← "),
        "{back}"
    );
}

#[test]
fn a_changed_line_keeps_its_link() {
    let found = between(
        &farm().build(),
        &farm()
            .topic("soil", "farm/+/soil", "i", "a")
            .qos("soil", skein_api::name::Qos::ExactlyOnce)
            .build(),
    );
    assert!(found.paths.is_empty());
    for link in &found.links {
        assert_eq!(link.change, Change::Changed);
        assert_eq!(
            (link.lost.as_slice(), link.gained.as_slice()),
            (
                ["farm/+/soil in qos 1".to_owned()].as_slice(),
                ["farm/+/soil in qos 2".to_owned()].as_slice(),
            )
        );
    }
    assert_eq!(found.links.len(), 3);
}

#[test]
fn the_serialised_shape_is_stable() {
    let found = between(&farm().build(), &farm().paused("b-c").build());
    insta::assert_json_snapshot!(found);
}
