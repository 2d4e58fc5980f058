//! The contract holds together: better terms never promise less, and words fit where they are shown.

use super::*;

/// Better sorts first.
fn weight(lost: Lost) -> u8 {
    match lost {
        Lost::Nothing => 0,
        Lost::Bounded(_) | Lost::While(_) => 1,
        Lost::EverythingHeld => 2,
        Lost::NotPromised => 3,
    }
}

#[test]
fn a_better_profile_and_a_newer_series_never_promise_less() {
    for event in Event::ALL {
        for qos in 0..3 {
            let lost = |profile, series| {
                clause(event, Terms::new(profile, series))
                    .promise(qos)
                    .map_or(0, |promise| weight(promise.lost))
            };
            for series in [Series::V2_0, Series::V2_1] {
                let by_profile =
                    [Profile::Durable, Profile::Classic, Profile::None].map(|profile| lost(profile, series));
                assert!(
                    by_profile.is_sorted(),
                    "{event:?} QoS {qos} on {series}: {by_profile:?}"
                );
            }
            for profile in [Profile::Durable, Profile::Classic, Profile::None] {
                assert!(
                    lost(profile, Series::V2_1) <= lost(profile, Series::V2_0),
                    "{event:?} QoS {qos} {profile}"
                );
            }
        }
    }
}

/// But for exchanges, which QoS 1 does not have.
#[test]
fn more_quality_of_service_never_loses_more() {
    for terms in Terms::ALL {
        for clause in contract(terms) {
            let Some(mut promises) = clause.promises else {
                continue;
            };
            if promises[2].lost == Lost::Bounded("exchanges under way") {
                promises[2].lost = Lost::Nothing;
            }
            let lost = promises.map(|promise| weight(promise.lost));
            assert!(
                lost[0] >= lost[1] && lost[1] >= lost[2],
                "{:?} {terms:?}: {lost:?}",
                clause.event
            );
        }
    }
}

/// What a judge of deliveries may complain of: (lost, doubled, out of order), by quality of service. `None`: the row is not
/// kept, so nothing.
type Judged = Option<[(bool, bool, bool); 3]>;

fn judged(event: Event, terms: Terms) -> Judged {
    let clause = clause(event, terms);
    clause.promises.filter(|_| clause.kept.is_kept()).map(|by_qos| {
        by_qos.map(|promise| {
            (
                promise.loses_nothing(),
                promise.doubles_nothing(),
                promise.keeps_order(),
            )
        })
    })
}

#[test]
fn a_judge_of_deliveries_finds_what_is_kept_today() {
    const ALL: (bool, bool, bool) = (true, true, true);
    const ARRIVES: (bool, bool, bool) = (true, false, false);
    const IN_ORDER: (bool, bool, bool) = (true, false, true);
    const ONCE: (bool, bool, bool) = (false, true, false);
    const NOTHING: (bool, bool, bool) = (false, false, false);
    let durable = Terms::new(Profile::Durable, Series::V2_1);
    let classic = Terms::new(Profile::Classic, Series::V2_0);
    for (event, terms, expected) in [
        (Event::Controller, durable, Some([ALL; 3])),
        (Event::Supervisor, classic, Some([ALL; 3])),
        (Event::Link, durable, Some([ONCE, ARRIVES, ARRIVES])),
        (
            Event::Away,
            durable,
            Some([(false, false, true), IN_ORDER, IN_ORDER]),
        ),
        (Event::Transit, durable, Some([ONCE, ARRIVES, ARRIVES])),
        (Event::Crash, durable, Some([ONCE, ARRIVES, ARRIVES])),
        (Event::Crash, classic, Some([ONCE, NOTHING, NOTHING])),
        (Event::Duplex, durable, Some([NOTHING; 3])),
        (
            Event::Route,
            durable,
            Some([(false, false, true), IN_ORDER, IN_ORDER]),
        ),
        (
            Event::Route,
            classic,
            Some([NOTHING, IN_ORDER, (false, false, true)]),
        ),
        (Event::Drain, durable, Some([NOTHING, ARRIVES, NOTHING])),
        (Event::Hang, durable, Some([NOTHING, ARRIVES, NOTHING])),
        (Event::Hang, classic, Some([NOTHING; 3])),
        (Event::Volume, durable, Some([NOTHING; 3])),
        (Event::Disk, durable, Some([NOTHING; 3])),
        (Event::Retained, durable, None),
        (Event::Wills, durable, None),
    ] {
        assert_eq!(judged(event, terms), expected, "{event:?} {terms:?}");
    }
}

#[test]
fn terms_matter_only_where_a_store_or_a_restart_does() {
    let same = |event| {
        let best = clause(event, Terms::ALL[0]);
        Terms::ALL.iter().all(|terms| clause(event, *terms) == best)
    };
    for event in [
        Event::Controller,
        Event::Supervisor,
        Event::Link,
        Event::Away,
        Event::Duplex,
        Event::Volume,
        Event::Retained,
    ] {
        assert!(same(event), "{event:?}");
    }
    for event in [
        Event::Transit,
        Event::Route,
        Event::Drain,
        Event::Crash,
        Event::Hang,
        Event::Disk,
        Event::Wills,
    ] {
        assert!(!same(event), "{event:?}");
    }
}

#[test]
fn there_is_no_durable_profile_before_2_1() {
    assert_eq!(
        Terms::new(Profile::Durable, Series::V2_0),
        Terms::new(Profile::Classic, Series::V2_0)
    );
    for series in [Series::V2_0, Series::V2_1] {
        let terms = Terms::new(Profile::default_of(series), series);
        assert_eq!(terms.profile(), Profile::default_of(series));
        assert!(Terms::ALL.contains(&terms));
    }
}

#[test]
fn an_acknowledged_message_is_not_yet_stored_wherever_a_store_is_relied_on() {
    for event in [Event::Transit, Event::Crash, Event::Hang] {
        let rests_on = |profile| {
            let clause = clause(event, Terms::new(profile, Series::V2_1));
            clause.footnotes.contains(&Footnote::LastMessage)
        };
        assert!(
            rests_on(Profile::Durable) && !rests_on(Profile::None),
            "{event:?}"
        );
    }
}

#[test]
fn words_fit_a_table_and_sentences_are_sentences() {
    let short =
        |text: &str, most: usize| assert!(text.chars().count() <= most, "{text:?} is longer than {most}");
    let sentence = |text: &str| {
        assert!(
            !text.is_empty() && !text.ends_with('.') && !text.contains("  "),
            "{text:?}"
        );
    };
    for event in Event::ALL {
        short(event.brief(), 23);
        sentence(event.title());
    }
    for terms in Terms::ALL {
        for clause in contract(terms) {
            for promise in clause.promises.iter().flatten() {
                short(promise.lost.brief(), 20);
                short(promise.duplicates.kind(), 8);
                short(promise.order.brief(), 5);
                sentence(promise.says);
            }
            match clause.kept {
                Kept::Since { release } => assert!(release.split('.').count() == 3, "{release}"),
                Kept::NotYet { why, today } => {
                    sentence(why);
                    sentence(today);
                }
            }
            if clause.promises.is_none() {
                sentence(clause.says);
            }
            for footnote in clause.footnotes {
                sentence(footnote.says());
            }
        }
        for blow in Blow::ALL {
            sentence(survives(terms, blow).says);
        }
    }
}
