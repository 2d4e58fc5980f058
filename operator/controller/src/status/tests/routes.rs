//! Routes.

use super::*;
use crate::status::{HeldLinks, held_links, route};

#[test]
fn a_route_shows_the_links_that_use_it() {
    let scene = Scene::new(line());
    let status = route(&scene.seen(), "b-c", Some(1), None);
    assert_eq!(letters(&status.conditions), "TTTT");
    assert_eq!(status.up, Some(true));
    let [link] = &status.links[..] else {
        panic!("one link")
    };
    assert_eq!((&link.downstream, &link.upstream), (&name("b"), &name("c")));
    assert_eq!((link.class.as_str(), link.up), ("soil", true));
}

#[test]
fn a_link_is_up_if_anything_comes_through_each_way() {
    let fleet = || line().topic("air", "farm/+/air", "c", "b");
    let mut scene = Scene::new(fleet());
    let soil = |path: &&mut PathStatus| path.topic.as_str() == "soil";
    scene.status.paths.iter_mut().find(soil).unwrap().up = false;
    let status = route(&scene.seen(), "b-c", Some(1), None);
    let ups: Vec<(&str, bool)> = status
        .links
        .iter()
        .map(|link| (link.class.as_str(), link.up))
        .collect();
    assert_eq!(ups, [("air", true), ("soil", false)]);
    assert_eq!(status.up, Some(false));
    assert_eq!(letters(&status.conditions), "TTFF");
    let parts = ["b ← c (soil)", "Broker/b", "Broker/c"];
    says(&status.conditions, "Ready", &parts);

    // Of an external broker its neighbour holds the one link there is.
    let both = FleetBuilder::new()
        .external("x")
        .routes("a-x")
        .topic("soil", "farm/+/soil", "a x", "a x");
    let mut scene = Scene::new(both);
    let status = route(&scene.seen(), "a-x", None, None);
    assert_eq!((status.links.len(), status.up), (1, Some(true)));
    for way in [["a", "x"], ["x", "a"]] {
        for path in &mut scene.status.paths {
            path.up = path.path != way.map(name);
        }
        assert_eq!(route(&scene.seen(), "a-x", None, None).up, Some(false), "{way:?}");
    }
}

#[test]
fn links_are_counted_where_they_are_held() {
    let mut scene = Scene::new(line().topic("air", "farm/+/air", "c", "b"));
    let held = |scene: &Scene| {
        let held = held_links(&scene.seen()).into_iter();
        held.map(|(broker, HeldLinks { planned, up })| format!("{broker} {up}/{planned}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(held(&scene), ["a 1/1", "b 2/2", "c 1/1"]);
    let soil = |path: &&mut PathStatus| path.topic.as_str() == "soil";
    scene.status.paths.iter_mut().find(soil).unwrap().up = false;
    assert_eq!(held(&scene), ["a 0/1", "b 1/2", "c 0/1"]);
    scene.broker("c").phase = BrokerPhase::Down;
    assert_eq!(held(&scene), ["a 0/1", "b 0/2", "c 0/1"]);
}

#[test]
fn a_link_that_carries_commands_only_is_up_if_they_come() {
    let fleet = line().commands("soil", "farm/+/valve");
    let mut scene = Scene::new(fleet);
    let status = route(&scene.seen(), "b-c", None, None);
    assert_eq!((status.links.len(), status.up), (2, Some(true)));
    scene.status.paths[0].up = false;
    let status = route(&scene.seen(), "b-c", None, None);
    assert!(status.links.iter().all(|link| !link.up));
}

#[test]
fn a_spare_or_paused_route_stands_against_nothing_and_an_end_that_is_out_does() {
    let spare = || line().routes("a-c:9");
    let mut scene = Scene::new(spare());
    let status = route(&scene.seen(), "a-c", Some(1), None);
    assert_eq!((status.links.len(), status.up), (0, None));
    assert_eq!(letters(&status.conditions), "TTTT");
    scene.broker("c").phase = BrokerPhase::Down;
    let status = route(&scene.seen(), "a-c", Some(1), None);
    says(&status.conditions, "Ready", &["Broker/c"]);
    assert_eq!(route(&scene.seen(), "c-i", Some(1), None).up, Some(false));
    let scene = Scene::new(spare().paused("a-c"));
    let status = route(&scene.seen(), "a-c", Some(1), None);
    assert_eq!(letters(&status.conditions), "TTTT");
    says(&status.conditions, "Ready", &["paused"]);
}

#[test]
fn of_routes_side_by_side_the_cheapest_carries_as_the_explanation_says() {
    let fleet = FleetBuilder::new()
        .routes("a-b:3 b-a:2 a>b:1 b-c")
        .topic("there", "there/+", "a", "b c")
        .topic("back", "back/+", "c", "a");
    let scene = Scene::new(fleet);
    for name in scene.fleet.routes.keys() {
        let explained =
            skein_planner::explain::route(&scene.fleet, &View::default(), &scene.plan, name).unwrap();
        let status = route(&scene.seen(), name.as_str(), None, None);
        let mut classes: Vec<&str> = explained.uses.iter().map(|used| used.class.as_str()).collect();
        classes.dedup();
        let carried: Vec<&str> = status.links.iter().map(|link| link.class.as_str()).collect();
        assert_eq!(carried, classes, "{name}");
    }
}

#[test]
fn figures_alone_change_nothing() {
    let mut scene = Scene::new(line());
    let first = route(&scene.seen(), "b-c", Some(1), None);
    scene.later();
    assert_eq!(route(&scene.seen(), "b-c", Some(1), Some(&first)), first);
}

#[test]
fn what_just_begins_is_not_known() {
    let mut scene = Scene::new(line());
    scene.broker("b").phase = BrokerPhase::Pending;
    scene.status.paths[0].up = false;
    let status = route(&scene.seen(), "b-c", Some(1), None);
    assert_eq!(letters(&status.conditions), "TTUU");
}
