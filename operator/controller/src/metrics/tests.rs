use skein_engine::directive::{BrokerStatus, Migration, PathStatus};

use super::*;

fn name(name: &str) -> BrokerName {
    BrokerName::new(name).unwrap()
}

fn broker(called: &str, phase: BrokerPhase) -> BrokerStatus {
    BrokerStatus {
        name: name(called),
        phase,
        client_address: None,
        peer_address: None,
        pid: None,
        version: None,
        heartbeat_ms: (phase == BrokerPhase::Ready).then_some(2.5),
        served_by: None,
        epoch_given: None,
        epoch_loaded: None,
        collisions: Vec::new(),
        collision_count: 0,
    }
}

fn soil() -> TopicName {
    TopicName::new("soil").unwrap()
}

/// One of the two links that a holds passes something.
fn figures() -> Figures {
    Figures {
        links: [(name("a"), HeldLinks { planned: 2, up: 1 })].into(),
        errors: 1,
    }
}

fn farm() -> Status {
    let path = PathStatus {
        topic: soil(),
        producer: name("a"),
        consumer: name("b"),
        path: vec![name("b"), name("a")],
        up: true,
        probe_ms: Some(12.0),
    };
    let mut dead = broker("b", BrokerPhase::Down);
    dead.served_by = Some(name("a"));
    let mut well = broker("a", BrokerPhase::Ready);
    well.served_by = Some(name("a"));
    Status {
        brokers: vec![well, dead],
        paths: vec![path],
        migrations: vec![Migration::new("b-1".to_owned(), name("b"))],
        settled: true,
        problems: vec!["b does not answer".to_owned()],
    }
}

/// What is shown of these, without what explains it.
fn shown(metrics: &Metrics, now: Instant) -> String {
    let text = metrics.text_at(now).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains("_bucket"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn all_that_is_told_is_shown() {
    let metrics = Metrics::new();
    let now = Instant::now();
    metrics.leads(true);
    metrics.reconciled("farm");
    metrics.planned(Duration::from_millis(30));
    metrics.wrote("Secret", "ok");
    metrics.contact_at("farm", &name("a"), now);
    metrics.observe_status("farm", &farm(), &figures());
    metrics.probed("farm", &soil(), Probed::Arrived(Duration::from_millis(12)));
    metrics.probed("farm", &soil(), Probed::Lost);
    metrics.probed("farm", &soil(), Probed::Lost);
    insta::assert_snapshot!(shown(&metrics, now + Duration::from_secs(2)));
    let gathered = metrics.text_at(now).unwrap();
    for row in TABLE {
        assert!(
            gathered.contains(&format!("# TYPE {} ", row.name)),
            "{} is not shown",
            row.name
        );
    }
}

#[test]
fn what_is_gone_is_not_shown_any_more_and_other_namespaces_are() {
    let metrics = Metrics::new();
    let now = Instant::now();
    for namespace in ["farm", "mill"] {
        metrics.reconciled(namespace);
        metrics.contact_at(namespace, &name("b"), now);
        metrics.observe_status(namespace, &farm(), &figures());
        metrics.probed(namespace, &soil(), Probed::Doubled);
    }
    let mut smaller = farm();
    smaller.brokers.pop();
    smaller.paths.clear();
    metrics.observe_status("farm", &smaller, &Figures::default());
    let text = shown(&metrics, now);
    let about = |text: &str, words: &[&str]| {
        text.lines()
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .count()
    };
    assert_eq!(about(&text, &["\"farm\"", "broker=\"b\""]), 0);
    assert_eq!(about(&text, &["\"farm\"", "_path_"]), 0);
    assert_eq!(about(&text, &["\"farm\"", "topic="]), 0);
    assert_eq!(about(&text, &["\"farm\"", "broker=\"a\""]), 8);
    assert_eq!(about(&text, &["\"mill\"", "broker=\"b\""]), 9);
    assert_eq!(about(&text, &["\"mill\"", "skein_probes_total"]), 3);
    metrics.forget("farm");
    let text = shown(&metrics, now);
    assert_eq!(about(&text, &["\"farm\""]), 0);
    assert_eq!(about(&text, &["\"mill\"", "_path_"]), 2);
}
