//! A few hundred seeds of the simulator, and whether it would find anything: `cargo xtask` runs thousands.

use skein_simulator::schedule::{Flaw, Outcome, Schedule, explain, run, run_with, shrunk};

/// Seeds that are run here; a schedule takes some milliseconds without optimization.
const SEEDS: std::ops::Range<u64> = 0..200;

#[test]
fn the_engine_keeps_what_it_promises_today() {
    for seed in SEEDS {
        let schedule = Schedule::new(seed);
        let failure = run(&schedule, false).failure;
        assert!(failure.is_none(), "{}", explain(&schedule).0.join("\n"));
    }
}

#[test]
fn a_seed_is_one_story() {
    for seed in [3, 17, 39] {
        let [one, other]: [Outcome; 2] = [0, 0].map(|_| run(&Schedule::new(seed), true));
        assert_eq!(one.story, other.story);
        assert_eq!((one.steps, one.acknowledged), (other.steps, other.acknowledged));
        let silent = run(&Schedule::new(seed), false);
        assert_eq!(silent.steps, one.steps, "telling a story changes nothing");
    }
}

#[test]
fn messages_flow_and_faults_happen() {
    let outcomes = SEEDS.map(|seed| run(&Schedule::new(seed), false));
    let (mut acknowledged, mut lost, mut twice) = (0, 0, 0);
    for outcome in outcomes {
        acknowledged += outcome.acknowledged;
        lost += outcome.lost;
        twice += outcome.twice;
    }
    assert!(acknowledged > 50_000, "{acknowledged}");
    // What is not promised yet is not kept either: else nothing would be tried here.
    assert!(lost > 500 && twice > 50, "{lost} lost, {twice} twice");
}

#[test]
fn each_mistake_made_on_purpose_is_found() {
    for flaw in Flaw::ALL {
        // Most are found by the first few.
        let found = (0..1_500)
            .map(Schedule::new)
            .find(|schedule| run_with(schedule, false, Some(flaw)).failure.is_some());
        assert!(found.is_some(), "{flaw:?} is not found");
    }
}

#[test]
fn a_schedule_that_does_not_fail_is_not_shrunk() {
    let schedule = Schedule::new(3);
    assert_eq!(shrunk(&schedule).faults(), schedule.faults());
}
