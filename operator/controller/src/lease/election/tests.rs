//! One candidate, step by step; and several, in a world that loses, delays and stops.

mod world;

use proptest::prelude::*;

use self::world::{World, Worries};
use super::*;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn version(number: u64) -> Version {
    Version {
        uid: "one".to_owned(),
        number: number.to_string(),
    }
}

fn held(holder: &str, number: u64) -> Record {
    Record {
        version: version(number),
        holder: holder.to_owned(),
        transitions: 7,
        duration: DURATION,
    }
}

fn claim(number: u64, transitions: i32) -> Claim {
    Claim {
        replaces: Some(version(number)),
        transitions,
    }
}

/// One that leads since `start`, by version 1.
fn leader(start: Instant) -> Election {
    let mut election = Election::new("me".to_owned(), start);
    election.looked(None, start);
    election.wrote(Answer::Written(held("me", 1)), start, start);
    election
}

/// One that saw somebody else lead at `start`, by version 1.
fn follower(start: Instant) -> Election {
    let mut election = Election::new("me".to_owned(), start);
    election.looked(Some(held("other", 1)), start);
    election
}

#[test]
fn where_there_is_no_lease_the_first_makes_one_and_leads() {
    let start = Instant::now();
    let mut election = Election::new("me".to_owned(), start);
    assert_eq!(election.act(start), Act::Look);
    election.looked(None, start);
    let new = Claim {
        replaces: None,
        transitions: 0,
    };
    assert_eq!(election.act(start), Act::Take(new));
    election.wrote(Answer::Written(held("me", 1)), start, start + seconds(0.1));
    assert_eq!(
        election.leads_until(),
        Some(start + DEADLINE),
        "counted from when it was sent"
    );
    assert_eq!(election.act(start + seconds(0.1)), Act::Wait(start + RENEW));
    assert_eq!(election.act(start + RENEW), Act::Renew(claim(1, 7)));
}

#[test]
fn a_leader_that_gets_no_answer_looks_tries_again_and_stops_at_the_deadline() {
    let start = Instant::now();
    let mut election = leader(start);
    election.wrote(Answer::Unknown, start + seconds(1.0), start + seconds(2.0));
    assert_eq!(
        election.act(start + seconds(2.0)),
        Act::Wait(start + seconds(2.25))
    );
    assert_eq!(
        election.act(start + seconds(2.25)),
        Act::Look,
        "the write may have been taken"
    );
    assert_eq!(election.patience(start + seconds(2.25)), seconds(0.75));
    election.did_not_look(start + seconds(2.9));
    assert_eq!(election.act(start + seconds(2.9)), Act::Wait(start + DEADLINE));
    assert_eq!(election.act(start + DEADLINE), Act::Lost(Why::NotRenewed));
    election.wrote(
        Answer::Written(held("me", 2)),
        start + seconds(2.9),
        start + seconds(3.1),
    );
    assert_eq!(
        election.act(start + seconds(3.1)),
        Act::Lost(Why::NotRenewed),
        "for good"
    );
}

#[test]
fn an_answer_that_is_found_after_a_pause_revives_no_leader() {
    let start = Instant::now();
    let mut election = leader(start);
    election.wrote(
        Answer::Written(held("me", 2)),
        start + seconds(2.0),
        start + seconds(4.0),
    );
    assert_eq!(election.act(start + seconds(4.0)), Act::Lost(Why::NotRenewed));
}

#[test]
fn a_leader_whose_write_was_taken_unknown_to_it_goes_on() {
    let start = Instant::now();
    let mut election = leader(start);
    election.wrote(Answer::Refused, start + seconds(1.0), start + seconds(1.1));
    assert_eq!(election.act(start + seconds(1.1)), Act::Look);
    election.looked(Some(held("me", 2)), start + seconds(1.2));
    assert_eq!(
        election.leads_until(),
        Some(start + DEADLINE),
        "looking renews nothing"
    );
    assert_eq!(election.act(start + seconds(1.2)), Act::Renew(claim(2, 7)));
}

#[test]
fn a_leader_that_finds_somebody_else_stops() {
    let start = Instant::now();
    let mut election = leader(start);
    election.wrote(Answer::Refused, start + seconds(1.0), start + seconds(1.1));
    election.looked(Some(held("other", 2)), start + seconds(1.2));
    assert_eq!(
        election.act(start + seconds(1.2)),
        Act::Lost(Why::Taken("other".to_owned()))
    );
    assert_eq!(election.leads_until(), None);
}

#[test]
fn a_follower_takes_what_it_has_seen_unchanged_for_the_whole_duration() {
    let start = Instant::now();
    let mut election = follower(start);
    assert_eq!(election.act(start), Act::Wait(start + LOOK));
    assert_eq!(election.act(start + LOOK), Act::Look);
    election.looked(Some(held("other", 2)), start + LOOK);
    for _ in 0..4 {
        election.looked(Some(held("other", 2)), start + seconds(4.4));
    }
    assert_eq!(
        election.act(start + seconds(4.4)),
        Act::Wait(start + seconds(4.5)),
        "not a look's worth late"
    );
    assert_eq!(election.act(start + seconds(4.5)), Act::Take(claim(2, 8)));
    election.wrote(Answer::Refused, start + seconds(4.5), start + seconds(4.6));
    election.looked(Some(held("third", 3)), start + seconds(4.6));
    assert_eq!(
        election.act(start + seconds(4.6)),
        Act::Wait(start + seconds(5.1))
    );
}

#[test]
fn what_was_given_up_is_taken_at_once_and_so_is_what_is_our_own() {
    let start = Instant::now();
    let mut election = follower(start);
    election.looked(Some(held("", 2)), start + LOOK);
    assert_eq!(election.act(start + LOOK), Act::Take(claim(2, 8)));
    election.wrote(Answer::Unknown, start + LOOK, start + seconds(1.5));
    assert_eq!(election.leads_until(), None);
    election.looked(Some(held("me", 3)), start + seconds(1.8));
    assert_eq!(
        election.act(start + seconds(1.8)),
        Act::Take(claim(3, 7)),
        "it was taken after all"
    );
}

#[test]
fn a_lease_that_was_deleted_is_left_alone_as_long_as_one_that_is_held() {
    let start = Instant::now();
    let mut election = follower(start);
    for at in [0.5, 1.0, 4.4] {
        election.looked(None, start + seconds(at));
    }
    assert_eq!(
        election.act(start + seconds(4.4)),
        Act::Wait(start + seconds(4.5))
    );
    assert!(matches!(
        election.act(start + seconds(4.5)),
        Act::Take(Claim { replaces: None, .. })
    ));
    let mut election = leader(start);
    election.wrote(Answer::Refused, start + seconds(1.0), start + seconds(1.0));
    election.looked(None, start + seconds(1.0));
    assert!(matches!(
        election.act(start + seconds(1.0)),
        Act::Renew(Claim { replaces: None, .. })
    ));
}

#[test]
fn a_leader_that_resigns_says_so_and_others_say_nothing() {
    let start = Instant::now();
    let mut election = leader(start);
    assert_eq!(election.resign(start + seconds(0.5)), Some(claim(1, 7)));
    assert_eq!(election.act(start + seconds(0.5)), Act::Lost(Why::Resigned));
    assert_eq!(leader(start).resign(start + DEADLINE), None);
    assert_eq!(follower(start).resign(start), None);
}

#[test]
fn a_holder_that_asks_for_longer_gets_it_and_one_that_asks_for_less_does_not() {
    let start = Instant::now();
    for (asked, granted) in [(15.0, 15.0), (1.0, 4.0)] {
        let mut election = Election::new("me".to_owned(), start);
        let record = Record {
            duration: seconds(asked),
            ..held("other", 1)
        };
        election.looked(Some(record), start);
        election.again = start + seconds(60.0);
        assert_eq!(election.act(start), Act::Wait(start + seconds(granted)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Answers lost, requests that arrive long after anybody waits for them, clocks apart and a tenth too fast or slow,
    /// processes that stop, die, resign and come back.
    #[test]
    fn there_are_never_two_leaders(seed: u64, candidates in 2_usize..5) {
        let worries = Worries {
            lost: 0.15,
            slow: 0.1,
            slowest: seconds(8.0),
            usual: seconds(0.3),
            drift: 0.1,
            pauses: true,
            ends: true,
        };
        let mut world = World::new(seed, candidates, worries);
        world.run(seconds(120.0));
        prop_assert!(world.terms() > 0, "nobody ever led");
    }

    #[test]
    fn another_leads_within_five_seconds_of_the_leaders_death(seed: u64, candidates in 2_usize..5) {
        let usual = seconds(0.05);
        let mut world = World::new(seed, candidates, Worries { usual, drift: 0.01, ..Worries::default() });
        world.run(seconds(20.0));
        prop_assert!(world.leader().is_some());
        prop_assert_eq!(world.terms(), 1, "who can renew goes on");
        let died = world.kill_leader();
        while world.leader().is_none() {
            world.step();
            prop_assert!(world.now() < died + seconds(5.0), "nobody leads");
        }
    }

    #[test]
    fn another_leads_at_once_when_the_leader_resigns(seed: u64, candidates in 2_usize..5) {
        let usual = seconds(0.05);
        let mut world = World::new(seed, candidates, Worries { usual, drift: 0.01, ..Worries::default() });
        world.run(seconds(20.0));
        let resigned = world.resign_leader();
        while world.leader().is_none() {
            world.step();
            prop_assert!(world.now() < resigned + LOOK + usual * 8, "nobody leads");
        }
    }
}

/// The world can tell: with a deadline that the others do not wait for, it finds two leaders.
#[test]
fn the_world_notices_two_leaders() {
    let found = (0..50).any(|seed| {
        let worries = Worries {
            usual: seconds(0.3),
            pauses: true,
            ends: true,
            lost: 0.15,
            ..Worries::default()
        };
        let mut world = World::new(seed, 3, worries);
        world.overconfident = DURATION;
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run(seconds(120.0)))).is_err()
    });
    assert!(found);
}
