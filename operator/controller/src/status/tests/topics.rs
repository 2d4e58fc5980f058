//! Topics.

use super::*;
use crate::status::topic;

#[test]
fn a_topic_that_flows_is_ready_and_shows_its_path() {
    let scene = Scene::new(line());
    let status = topic(&scene.seen(), "soil", Some(2), None);
    assert_eq!(letters(&status.conditions), "TTTT");
    assert_eq!(status.class.as_deref(), Some("soil"));
    assert!(status.root.is_some());
    assert_eq!(status.path.as_deref(), Some("a ← b ← c ← i"));
    assert_eq!(status.cost, Some(3));
    assert_eq!(status.more_paths, None);
    let [path] = &status.paths[..] else {
        panic!("one path")
    };
    assert_eq!((&path.producer, &path.consumer), (&name("i"), &name("a")));
    assert_eq!(path.path, ["a", "b", "c", "i"].map(name));
    assert_eq!((path.cost, path.stretch.as_deref()), (Some(3), Some("1")));
}

#[test]
fn the_dearest_path_stands_for_all() {
    let scene = Scene::new(line().topic("soil", "farm/+/soil", "i b", "a"));
    let status = topic(&scene.seen(), "soil", None, None);
    assert_eq!(status.path.as_deref(), Some("a ← b ← c ← i and 1 more"));
    assert_eq!(status.cost, Some(3));
    let producers: Vec<&BrokerName> = status.paths.iter().map(|path| &path.producer).collect();
    assert_eq!(producers, [&name("b"), &name("i")]);
}

#[test]
fn a_topic_without_a_way_names_the_route_that_would_make_one() {
    let lacking = FleetBuilder::new()
        .routes("a-b c-i")
        .topic("soil", "farm/+/soil", "i", "a");
    let scene = Scene::new(lacking);
    let status = topic(&scene.seen(), "soil", Some(1), None);
    assert_eq!(letters(&status.conditions), "TFFF");
    let parts = [
        "from i to a",
        "no NodeRoute connects them",
        "spec.between: [i, a]",
    ];
    says(&status.conditions, "Ready", &parts);
    assert_eq!((status.path, status.cost), (None, None));
    assert_eq!(status.paths[0].cost, None);

    let scene = Scene::new(line().paused("b-c"));
    let status = topic(&scene.seen(), "soil", Some(1), None);
    says(&status.conditions, "Matched", &["NodeRoute/b-c", "paused"]);

    let one_way = FleetBuilder::new()
        .routes("a-b b>c c-i")
        .topic("soil", "farm/+/soil", "i", "a");
    let scene = Scene::new(one_way);
    let status = topic(&scene.seen(), "soil", Some(1), None);
    says(
        &status.conditions,
        "Matched",
        &["NodeRoute/b-c leads the other way only"],
    );

    let astray =
        FleetBuilder::new()
            .routes("a-b b>c c-i")
            .paused("b-c")
            .topic("soil", "farm/+/soil", "i", "a");
    let scene = Scene::new(astray);
    let status = topic(&scene.seen(), "soil", Some(1), None);
    says(&status.conditions, "Matched", &["no NodeRoute connects them"]);

    let commanded = FleetBuilder::new()
        .routes("a-b c>b c-i")
        .topic("soil", "farm/+/soil", "i", "a")
        .commands("soil", "farm/+/valve");
    let scene = Scene::new(commanded);
    let status = topic(&scene.seen(), "soil", Some(1), None);
    says(&status.conditions, "Matched", &["route/c-b is one-way"]);
}

#[test]
fn a_topic_names_the_broker_that_is_out() {
    let view = View {
        down: [name("b")].into(),
        ..View::default()
    };
    let scene = Scene::planned(line(), &view);
    let status = topic(&scene.seen(), "soil", Some(1), None);
    says(&status.conditions, "Matched", &["Broker/b is in between and out"]);
    let view = View {
        down: [name("i")].into(),
        ..View::default()
    };
    let scene = Scene::planned(line(), &view);
    let status = topic(&scene.seen(), "soil", Some(1), None);
    says(&status.conditions, "Matched", &["bring Broker/i back"]);
}

#[test]
fn what_does_not_come_through_names_what_is_in_the_way() {
    let mut scene = Scene::new(line());
    scene.status.paths[0].up = false;
    let status = topic(&scene.seen(), "soil", Some(1), None);
    assert_eq!(letters(&status.conditions), "TTFF");
    says(
        &status.conditions,
        "Operational",
        &["from i to a", "a ← b ← c ← i", "are well"],
    );
    let wait =
        "Broker/x: it cannot be reached and may come back, so the link b <- c (farm/+/soil) has to wait";
    scene.status.problems.push(wait.to_owned());
    let status = topic(&scene.seen(), "soil", Some(1), None);
    says(&status.conditions, "Operational", &[wait]);
    scene.broker("c").epoch_loaded = Some(2);
    let status = topic(&scene.seen(), "soil", Some(1), None);
    says(&status.conditions, "Operational", &["Broker/c does not use"]);
    scene.broker("b").phase = BrokerPhase::Suspect;
    let status = topic(&scene.seen(), "soil", Some(1), None);
    says(&status.conditions, "Operational", &["Broker/b is not well"]);
    scene.broker("b").phase = BrokerPhase::Pending;
    let status = topic(&scene.seen(), "soil", Some(1), None);
    assert_eq!(letters(&status.conditions), "TTUU", "it was not tried yet");
}

#[test]
fn a_problem_is_shown_at_its_object_and_names_the_other() {
    let mut scene = Scene::new(line());
    let before = topic(&scene.seen(), "soil", Some(1), None);
    let (field, message) = ("spec.consumers[1].broker", "there is no broker d");
    scene.problem("Topic/soil", field, message, "declare it, or name another one");
    let status = topic(&scene.seen(), "soil", Some(2), Some(&before));
    assert_eq!(letters(&status.conditions), "FTTF", "what is in force goes on");
    let parts = [field, message, "declare it"];
    says(&status.conditions, "Ready", &parts);
    assert_eq!(status.paths, before.paths);
}

#[test]
fn figures_alone_change_nothing() {
    let mut scene = Scene::new(line());
    let first = topic(&scene.seen(), "soil", Some(1), None);
    scene.later();
    assert_eq!(topic(&scene.seen(), "soil", Some(1), Some(&first)), first);
    scene.status.paths[0].probe_ms = None;
    assert_eq!(topic(&scene.seen(), "soil", Some(1), Some(&first)), first);
}

#[test]
fn of_many_paths_those_are_listed_that_are_missing_and_the_dearest() {
    let names: Vec<String> = (0..300).map(|number| format!("p{number:03}")).collect();
    let routes: Vec<String> = names.iter().map(|name| format!("a-{name}")).collect();
    let fleet = FleetBuilder::new()
        .routes(&routes[1..].join(" "))
        .routes("p001-far:9")
        .topic("soil", "farm/+/soil", &format!("{} far", names.join(" ")), "a");
    let scene = Scene::new(fleet);
    let status = topic(&scene.seen(), "soil", Some(1), None);
    assert_eq!((status.paths.len(), status.more_paths), (256, Some(45)));
    let has = |producer: &str| status.paths.iter().any(|path| path.producer.as_str() == producer);
    assert!(has("p000") && has("far") && !has("p299"));
    assert_eq!(status.cost, Some(10));
}

#[test]
fn what_is_not_in_force_yet_is_not_known() {
    let scene = Scene::new(line());
    let status = topic(&scene.seen(), "new", Some(1), None);
    assert_eq!(letters(&status.conditions), "UUUU");
    let mut scene = Scene::new(line());
    scene.plan = Plan::default();
    let status = topic(&scene.seen(), "soil", Some(1), None);
    assert_eq!(letters(&status.conditions), "TUUU");
}
