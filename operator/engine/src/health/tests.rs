//! Evidence in, phase out.

use super::*;

const RULES: Rules = Rules {
    interval: Duration::from_secs(1),
    misses: 3,
    after: Duration::from_secs(5),
    start: Duration::from_secs(30),
};

fn at(seconds: f64) -> Moment {
    Duration::from_secs_f64(seconds)
}

/// A broker and what happens to it; other brokers answer all the time unless it is said that they do not.
struct Case {
    health: Health,
    others: bool,
    alone: bool,
}

impl Case {
    fn ready() -> Self {
        let mut health = Health::unheard();
        health.on_process(at(99.0), Process::Running { pid: 1 });
        health.on_answer(at(100.0), Duration::from_millis(1));
        assert_eq!(health.phase(), BrokerPhase::Ready);
        Self {
            health,
            others: true,
            alone: false,
        }
    }

    fn judge(mut self, seconds: f64) -> Self {
        let contact = self.others.then(|| at(seconds - 0.1));
        self.health.judge(
            at(seconds),
            &RULES,
            Surroundings {
                contact,
                alone: self.alone,
            },
        );
        self
    }

    fn without_others(mut self) -> Self {
        self.others = false;
        self
    }

    fn alone(mut self) -> Self {
        (self.others, self.alone) = (false, true);
        self
    }

    fn misses(mut self, seconds: &[f64]) -> Self {
        for second in seconds {
            self.health.on_miss(at(*second), false, &RULES);
            self = self.judge(*second);
        }
        self
    }

    fn refusals(mut self, seconds: &[f64]) -> Self {
        for second in seconds {
            self.health.on_miss(at(*second), true, &RULES);
            self = self.judge(*second);
        }
        self
    }

    fn answers(mut self, seconds: &[f64]) -> Self {
        for second in seconds {
            self.health.on_answer(at(*second), Duration::from_millis(1));
            self = self.judge(*second);
        }
        self
    }

    /// Heartbeats missed by a process that was seen to do this each time.
    fn misses_while(mut self, activity: Activity, seconds: impl IntoIterator<Item = f64>) -> Self {
        for second in seconds {
            self.health.on_activity(at(second), activity);
            self = self.misses(&[second]);
        }
        self
    }

    fn process(mut self, seconds: f64, process: Process) -> Self {
        self.health.on_process(at(seconds), process);
        self.judge(seconds)
    }

    #[track_caller]
    fn is(self, phase: BrokerPhase) -> Self {
        assert_eq!(self.health.phase(), phase, "{:?}", self.health);
        self
    }
}

#[test]
fn one_lost_packet_is_no_evidence() {
    Case::ready()
        .misses(&[101.0])
        .is(BrokerPhase::Suspect)
        .answers(&[102.0])
        .is(BrokerPhase::Ready);
}

#[test]
fn a_hang_takes_its_misses_and_somebody_else_who_answers() {
    Case::ready()
        .misses(&[101.0, 102.0])
        .is(BrokerPhase::Suspect)
        .misses(&[103.0])
        .is(BrokerPhase::Down);
    Case::ready()
        .without_others()
        .misses(&[101.0, 102.0, 103.0, 104.0])
        .is(BrokerPhase::Suspect);
    Case::ready()
        .alone()
        .misses(&[101.0, 102.0, 103.0])
        .is(BrokerPhase::Down);
    let hung = Process::Hung { pid: 1 };
    Case::ready().process(100.5, hung).is(BrokerPhase::Suspect);
    Case::ready()
        .without_others()
        .process(100.5, hung)
        .misses(&[101.0, 102.0, 103.0])
        .is(BrokerPhase::Down);
}

#[test]
fn a_busy_process_is_late_and_not_hung() {
    let busy = || Case::ready().misses_while(Activity::Busy, (101..=107).map(f64::from));
    busy()
        .is(BrokerPhase::Suspect)
        .answers(&[107.5])
        .is(BrokerPhase::Ready);
    // What it missed while it was busy is no part of the row: it was not hung then.
    busy()
        .misses_while(Activity::Asleep, [108.0, 109.0])
        .is(BrokerPhase::Suspect)
        .misses_while(Activity::Asleep, [110.0])
        .is(BrokerPhase::Down);
    // An observation that is older than the heartbeat excuses nothing.
    let mut stale = Case::ready();
    stale.health.on_activity(at(100.0), Activity::Busy);
    stale.misses(&[102.0, 103.0, 104.0]).is(BrokerPhase::Down);
}

#[test]
fn a_process_that_computes_in_a_circle_is_as_good_as_hung() {
    let circling = Case::ready()
        .misses_while(Activity::Busy, (101..=109).map(f64::from))
        .is(BrokerPhase::Suspect)
        .misses_while(Activity::Busy, (110..=112).map(f64::from))
        .is(BrokerPhase::Down);
    assert_eq!(
        circling.health.evidence(),
        [
            "3 heartbeats in a row were missed",
            "its process has been busy with something else for 12.0 s",
            "other brokers answered meanwhile"
        ]
    );
}

#[test]
fn a_process_that_does_nothing_about_its_heartbeats_is_hung_and_says_how() {
    for (activity, words) in [
        (Activity::Asleep, "its process sleeps and takes no notice of them"),
        (Activity::Stalled, "its process waits for a disk and gets nowhere"),
        (Activity::Frozen, "its process is stopped in its tracks"),
    ] {
        let hung = Case::ready()
            .misses_while(activity, [101.0, 102.0])
            .is(BrokerPhase::Suspect)
            .misses_while(activity, [103.0])
            .is(BrokerPhase::Down);
        assert_eq!(hung.health.evidence()[1], words);
    }
    // If nobody can be reached the heartbeats may never have arrived; but what is stopped is stopped.
    let alone = || Case::ready().without_others();
    let seconds = || (101..=105).map(f64::from);
    alone()
        .misses_while(Activity::Asleep, seconds())
        .is(BrokerPhase::Suspect);
    alone()
        .misses_while(Activity::Frozen, seconds())
        .is(BrokerPhase::Down);
}

#[test]
fn a_broker_that_was_slow_of_late_may_miss_a_few_more() {
    let slow = || {
        let mut slow = Case::ready();
        slow.health.on_answer(at(100.5), Duration::from_millis(600));
        slow
    };
    slow()
        .misses(&[101.0, 102.0, 103.0])
        .is(BrokerPhase::Suspect)
        .misses(&[104.0])
        .is(BrokerPhase::Down);
    slow()
        .misses_while(Activity::Frozen, [101.0, 102.0, 103.0])
        .is(BrokerPhase::Down);
    // Twice as many at most, however slow it was, and no more once it is quick again.
    let mut slower = slow();
    slower.health.on_answer(at(100.5), Duration::from_mins(1));
    let seconds: Vec<f64> = (101..=105).map(f64::from).collect();
    slower
        .misses(&seconds)
        .is(BrokerPhase::Suspect)
        .misses(&[106.0])
        .is(BrokerPhase::Down);
    slow()
        .answers(&[100.6, 100.7])
        .misses(&[101.0, 102.0, 103.0])
        .is(BrokerPhase::Down);
}

#[test]
fn a_dead_process_has_its_time_to_come_back() {
    let dead = || {
        Case::ready()
            .process(101.0, Process::Restarting)
            .misses(&[102.0, 103.0, 104.0, 105.0])
    };
    dead().judge(105.9).is(BrokerPhase::Suspect);
    dead().judge(106.0).is(BrokerPhase::Down);
    dead().answers(&[105.5]).judge(110.0).is(BrokerPhase::Ready);
    // The time counts from the first sight of it dead, not from the last.
    dead()
        .process(105.0, Process::Held)
        .judge(106.0)
        .is(BrokerPhase::Down);
    assert_eq!(dead().health.deadline(&RULES), Some(at(106.0)));
}

#[test]
fn a_refused_port_counts_as_dead_if_it_stays_so() {
    let refused = || {
        Case::ready()
            .refusals(&[101.0, 102.0, 103.0])
            .is(BrokerPhase::Suspect)
    };
    refused()
        .refusals(&[104.0, 105.0])
        .is(BrokerPhase::Suspect)
        .refusals(&[106.0])
        .is(BrokerPhase::Down);
    refused().answers(&[104.0]).judge(110.0).is(BrokerPhase::Ready);
    // Twice is not yet as often as asked for.
    Case::ready()
        .refusals(&[101.0, 105.9])
        .judge(107.0)
        .is(BrokerPhase::Suspect);
}

#[test]
fn what_was_missed_during_a_stall_does_not_count() {
    let mut stalled = Case::ready().misses(&[101.0, 102.0]);
    stalled.health.discount(at(120.0), at(18.0));
    let stalled = stalled.misses(&[120.1, 120.2, 120.9]).is(BrokerPhase::Ready);
    stalled
        .misses(&[121.5, 122.5])
        .is(BrokerPhase::Suspect)
        .misses(&[123.5])
        .is(BrokerPhase::Down);

    let mut dying = Case::ready().process(101.0, Process::Restarting);
    dying.health.discount(at(120.0), at(18.0));
    dying
        .judge(120.0)
        .is(BrokerPhase::Suspect)
        .judge(124.0)
        .is(BrokerPhase::Down);
}

#[test]
fn a_new_broker_may_take_its_time() {
    let new = || Case {
        health: Health::unheard(),
        others: true,
        alone: false,
    };
    let waits: Vec<f64> = (1..25).map(f64::from).collect();
    new().refusals(&waits).is(BrokerPhase::Pending);
    new().misses(&waits).is(BrokerPhase::Pending);
    let mut restarted = new();
    restarted.health.ran_before();
    restarted.refusals(&waits).is(BrokerPhase::Down);
}

#[test]
fn it_is_stable_once_it_has_answered_for_a_while() {
    let back = || {
        Case::ready()
            .misses(&[101.0, 102.0, 103.0])
            .answers(&[110.0])
            .is(BrokerPhase::Returning)
    };
    assert!(
        !back()
            .answers(&[111.0, 112.0])
            .health
            .is_stable(at(112.0), &RULES)
    );
    assert!(
        back()
            .answers(&[111.0, 112.0, 113.0])
            .health
            .is_stable(at(113.0), &RULES)
    );
    back().misses(&[111.0]).is(BrokerPhase::Down);
    back().process(111.0, Process::Restarting).is(BrokerPhase::Down);
    let mut taken = back().answers(&[111.0, 112.0, 113.0]);
    taken.health.take_back();
    taken.is(BrokerPhase::Ready);
}

#[test]
fn evidence_is_in_durations_that_people_use() {
    let spoken = |seconds: f64| spoken(Duration::from_secs_f64(seconds));
    assert_eq!(spoken(0.350_4), "350 ms");
    assert_eq!(spoken(1.000_037_11), "1.0 s");
    assert_eq!(spoken(12.34), "12.3 s");
    assert_eq!(spoken(150.0), "2.5 min");
    let dead = Case::ready()
        .process(101.0, Process::Held)
        .process(106.000_037, Process::Held);
    assert_eq!(
        dead.health.evidence(),
        [
            "its supervisor says that the process is held down",
            "no heartbeat was answered for 5.0 s"
        ]
    );
}
