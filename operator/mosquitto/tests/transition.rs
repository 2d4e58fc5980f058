//! What a running broker needs to get from one configuration to the next.

mod common;

use common::{MIDDLE, NEWEST, OLDEST, after, config, link};
use skein_mosquitto::config::{Config, Listener, Persistence};
use skein_mosquitto::transition::Action::{self, None, Reload, Restart};
use skein_mosquitto::transition::transition;
use skein_mosquitto::version::Version;

fn pull(lines: &[&str]) -> skein_mosquitto::link::Link {
    link("a", "b", "soil", lines)
}

fn duplex() -> skein_mosquitto::link::Link {
    link("a", "c", "chat", &["chat/# both 1"])
}

/// A configuration that both series can run.
fn classic(links: &[skein_mosquitto::link::Link]) -> Config {
    config(links, OLDEST)
}

fn actions(old: &Config, new: &Config) -> [Action; 3] {
    [OLDEST, MIDDLE, NEWEST].map(|version| transition(old, new, version).action)
}

fn reasons(old: &Config, new: &Config, version: Version) -> String {
    transition(old, new, version).reasons.join("; ")
}

#[test]
fn another_epoch_alone_needs_nothing() {
    let old = classic(&[pull(&["t in 1"]), duplex()]);
    let new = Config {
        epoch: 8,
        ..old.clone()
    };
    assert_eq!(actions(&old, &new), [None, None, None]);
    assert_eq!(reasons(&old, &new, NEWEST), "");
}

#[test]
fn pull_links_come_go_and_change_by_reload_from_2_1_on() {
    let none = classic(&[]);
    let one = classic(&[pull(&["t in 1"])]);
    let changed = classic(&[pull(&["t in 1", "u in 1"])]);
    for (old, new) in [(&none, &one), (&one, &none), (&one, &changed)] {
        assert_eq!(actions(old, new), [Restart, Restart, Reload]);
    }
    let why = reasons(&none, &one, OLDEST);
    assert!(
        why.starts_with("connection b-pull-")
            && why.ends_with("is added, and Mosquitto 2.0.11 does not reload connections"),
        "{why}"
    );
}

#[test]
fn a_reload_is_refused_while_an_outgoing_queue_would_be_destroyed() {
    let old = classic(&[duplex()]);
    let new = classic(&[duplex(), pull(&["t in 1"])]);
    assert_eq!(actions(&old, &new), [Restart, Restart, Restart]);
    let why = reasons(&old, &new, NEWEST);
    assert!(
        why.starts_with("a reload would destroy what waits for connection c-duplex-"),
        "{why}"
    );
    let gone = classic(&[]);
    assert_eq!(actions(&old, &gone), [Restart, Restart, Restart]);
}

#[test]
fn a_first_outgoing_queue_is_empty_so_a_reload_may_add_it() {
    assert_eq!(
        actions(&classic(&[]), &classic(&[duplex()])),
        [Restart, Restart, Reload]
    );
}

#[test]
fn a_forgotten_filter_is_no_outgoing_queue() {
    let old = after(
        &classic(&[pull(&["t in 1", "u in 1"])]),
        classic(&[pull(&["t in 1"])]),
    );
    assert_eq!(old.connections[0].forgotten.len(), 1);
    assert_eq!(transition(&old, &classic(&[]), NEWEST).action, Reload);
}

#[test]
fn a_connection_that_forgets_is_another_one() {
    let plain = classic(&[pull(&["t in 1"])]);
    let forgetting = after(&classic(&[pull(&["t in 1", "u in 1"])]), plain.clone());
    // The bridge must connect anew to unsubscribe.
    assert_eq!(actions(&plain, &forgetting), [Restart, Restart, Reload]);
    let mut noted = plain.clone();
    noted
        .left
        .insert("skein:a:d:pull".to_owned(), [common::filter("u")].into());
    assert_eq!(
        actions(&plain, &noted),
        [None; 3],
        "a note is nothing to Mosquitto"
    );
}

#[test]
fn a_connection_that_changes_under_its_name_takes_a_restart() {
    let old = classic(&[pull(&["t in 1"])]);
    let mut new = old.clone();
    std::sync::Arc::make_mut(&mut new.connections[0]).port += 1;
    assert_eq!(actions(&old, &new), [Restart, Restart, Restart]);
    assert!(reasons(&old, &new, NEWEST).contains("keeps its name"));
}

#[test]
fn the_rest_of_the_file_reloads_where_mosquitto_can() {
    let old = classic(&[pull(&["t in 1"])]);
    let change = |change: &dyn Fn(&mut Config)| {
        let mut new = old.clone();
        change(&mut new);
        actions(&old, &new)
    };
    let listener = Listener {
        address: "127.0.0.1".to_owned(),
        port: 1,
    };
    assert_eq!(change(&|new| new.listeners.push(listener.clone())), [Restart; 3]);
    assert_eq!(change(&|new| new.persistence = Persistence::None), [Restart; 3]);
    assert_eq!(
        change(&|new| new.user = Some("mosquitto".to_owned())),
        [Restart; 3]
    );
    assert_eq!(change(&|new| new.limits.max_queued_bytes = 1), [Reload; 3]);
    assert_eq!(change(&|new| new.allow_anonymous = false), [Reload; 3]);
    let set = |key: &str| change(&|new| drop(new.settings.insert(key.to_owned(), "true".to_owned())));
    assert_eq!(set("connection_messages"), [Reload; 3]);
    assert_eq!(set("check_retain_source"), [Restart; 3]);
}

#[test]
fn an_option_that_is_removed_takes_a_restart() {
    let new = classic(&[]);
    let mut old = new.clone();
    old.settings.insert("sys_interval".to_owned(), "1".to_owned());
    assert_eq!(actions(&old, &new), [Restart; 3]);
}

#[test]
fn the_order_of_connections_means_nothing() {
    let old = classic(&[pull(&["t in 1"]), link("a", "c", "soil", &["u in 1"])]);
    let mut new = old.clone();
    new.connections.reverse();
    assert_eq!(actions(&old, &new), [None; 3]);
}

/// What a reload of 2.1.2 does to the connections that a broker holds, in its own order.
fn reload(held: &mut Vec<String>, file: &[String]) {
    let mut at = 0;
    while at < held.len() {
        if !file.contains(&held[at]) {
            held.swap_remove(at);
        }
        // On to the next place, whoever has come to this one.
        at += 1;
    }
    for name in file {
        if !held.contains(name) {
            held.push(name.clone());
        }
    }
}

fn names(config: &Config) -> Vec<String> {
    config.connections.iter().map(|held| held.name.clone()).collect()
}

#[test]
fn a_reload_ends_every_connection_that_goes_whatever_their_order() {
    let upstreams = ["b", "c", "d", "e", "f", "g", "h"];
    let held = |upstream: &&str| link("a", upstream, "soil", &["t in 1"]);
    let all: Vec<_> = upstreams.iter().map(held).collect();
    let old = config(&all, NEWEST);
    for kept in 0..1_u32 << upstreams.len() {
        let stays = |index: &usize| kept & (1 << index) != 0;
        let mut links: Vec<_> = (0..all.len())
            .filter(stays)
            .map(|index| all[index].clone())
            .collect();
        links.push(link("a", "z", "soil", &["t in 1"]));
        let new = config(&links, NEWEST);
        let change = transition(&old, &new, NEWEST);
        assert_eq!(change.action, Reload);
        let mut running = names(&old);
        for stage in &change.stages {
            reload(&mut running, &names(stage));
            assert!(
                !running.iter().any(|name| name.starts_with("z-")),
                "nothing begins yet"
            );
        }
        // At most one is left to end, so that none of the new ones meets its predecessor.
        assert!(running.iter().filter(|name| !names(&new).contains(name)).count() <= 1);
        reload(&mut running, &names(&new));
        let mut expected = names(&new);
        running.sort();
        expected.sort();
        assert_eq!(running, expected);
    }
}

#[test]
fn one_connection_is_exchanged_by_one_reload() {
    let old = classic(&[pull(&["t in 1"])]);
    let new = classic(&[pull(&["u in 1"])]);
    assert_eq!(transition(&old, &new, NEWEST).stages, []);
}
