//! The health of one broker, judged from evidence.
//!
//! Knows heartbeats, what the supervisor says of the process, what the process was seen to do, what passed through it, and
//! time; knows no fleet, no plan and no configuration. It never acts on one kind of evidence that another contradicts.

use std::time::Duration;

use skein_api::fleet::Broker;

use crate::directive::BrokerPhase;
use crate::event::{Activity, Moment, Process};

/// How long a process may be busy and leave heartbeats unanswered. One that computes in a circle is as good as hung.
const BUSY: Duration = Duration::from_secs(10);

/// How a broker is to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Time between two heartbeats.
    pub(crate) interval: Duration,
    /// How many in a row must be missed.
    pub(crate) misses: u32,
    /// How long a dead process may take to come back in place.
    pub(crate) after: Duration,
    /// How long a broker that never ran may take to come up.
    pub(crate) start: Duration,
}

impl Rules {
    pub(crate) fn of(broker: &Broker, start: Duration) -> Self {
        let heartbeat = &broker.heartbeat;
        Self {
            interval: heartbeat.interval,
            misses: heartbeat.misses.max(1),
            after: broker.failover.after,
            start,
        }
    }

    /// How long heartbeats must have been missed, or answered, to count.
    fn window(&self) -> Duration {
        self.interval.saturating_mul(self.misses)
    }
}

/// What is known beyond the broker itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Surroundings {
    /// When any other broker last answered or refused: proof that the controller itself can reach brokers.
    pub(crate) contact: Option<Moment>,
    /// No other broker is watched.
    pub(crate) alone: bool,
}

/// What is known of one broker's health.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    phase: BrokerPhase,
    /// It has run before, in this life or an earlier one.
    ran: bool,
    /// Heartbeats missed in a row with the connection not refused.
    unanswered: u32,
    /// Heartbeats missed in a row, refused ones too.
    missed: u32,
    /// When the first heartbeat of the row was sent.
    silent_since: Option<Moment>,
    /// When the last missed one was noticed.
    missed_at: Option<Moment>,
    /// What the process was last seen to do, and when.
    activity: Option<(Moment, Activity)>,
    /// What it did when the last heartbeat was missed.
    witnessed: Option<Activity>,
    /// When the first of the heartbeats was sent that a busy process has left unanswered since its last answer.
    busy_since: Option<Moment>,
    /// About the longest of the recent round trips.
    pace: Duration,
    /// When the process was first seen dead.
    dead_since: Option<Moment>,
    /// The last connection was refused.
    refused: bool,
    process: Option<Process>,
    lost: bool,
    /// Heartbeats answered in a row since it returned, and since when.
    answers: u32,
    returning_since: Option<Moment>,
    /// Heartbeats sent before this count for nothing: the controller was not itself.
    trusted_from: Moment,
    round_trip: Option<Duration>,
    evidence: Vec<String>,
}

impl Health {
    /// A broker of which nothing is known.
    pub(crate) fn unheard() -> Self {
        Self {
            phase: BrokerPhase::Pending,
            ran: false,
            unanswered: 0,
            missed: 0,
            silent_since: None,
            missed_at: None,
            activity: None,
            witnessed: None,
            busy_since: None,
            pace: Duration::ZERO,
            dead_since: None,
            refused: false,
            process: None,
            lost: false,
            answers: 0,
            returning_since: None,
            trusted_from: Duration::ZERO,
            round_trip: None,
            evidence: Vec::new(),
        }
    }

    /// It was removed and is declared again: what was seen of it before counts for nothing, but for what its supervisor
    /// says of a process that lives.
    pub(crate) fn begin_again(&mut self) {
        let alive = |process: &Process| !is_dead(*process);
        *self = Self {
            process: self.process.filter(alive),
            trusted_from: self.trusted_from,
            ..Self::unheard()
        };
    }

    /// It ran in an earlier life of the controller.
    pub(crate) fn ran_before(&mut self) {
        self.ran = true;
    }

    /// It was declared down in an earlier life, and its failover was not over.
    pub(crate) fn was_down(&mut self, evidence: Vec<String>) {
        self.ran = true;
        self.phase = BrokerPhase::Down;
        self.evidence = evidence;
    }

    pub(crate) fn phase(&self) -> BrokerPhase {
        self.phase
    }

    /// Why it was declared down.
    pub(crate) fn evidence(&self) -> &[String] {
        &self.evidence
    }

    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    pub(crate) fn process(&self) -> Option<Process> {
        self.process
    }

    /// Its supervisor is gone.
    pub(crate) fn supervisor_lost(&self) -> bool {
        self.lost
    }

    /// Nothing is planned through it.
    pub(crate) fn is_out(&self) -> bool {
        matches!(self.phase, BrokerPhase::Down | BrokerPhase::Returning)
    }

    /// It is watched, and its last heartbeat was missed without the connection being refused.
    pub(crate) fn is_silent(&self) -> bool {
        self.unanswered > 0
    }

    /// It takes part in telling whether the controller is isolated.
    pub(crate) fn is_watched(&self) -> bool {
        self.ran && self.phase != BrokerPhase::Down
    }

    pub(crate) fn on_answer(&mut self, now: Moment, round_trip: Duration) {
        self.round_trip = Some(round_trip);
        self.pace = round_trip.max(self.pace * 3 / 4);
        self.ran = true;
        self.forget_misses();
        self.busy_since = None;
        // A supervisor that called the process dead before this answer has been overtaken by it.
        self.dead_since = None;
        match self.phase {
            BrokerPhase::Down => {
                self.phase = BrokerPhase::Returning;
                self.returning_since = Some(now);
                self.answers = 1;
            }
            BrokerPhase::Returning => self.answers = self.answers.saturating_add(1),
            BrokerPhase::Pending | BrokerPhase::Suspect | BrokerPhase::Ready => self.settle(),
        }
    }

    pub(crate) fn on_miss(&mut self, now: Moment, refused: bool, rules: &Rules) {
        let sent = now.saturating_sub(rules.interval);
        if !refused && sent < self.trusted_from {
            return;
        }
        let seen = self.activity.take().filter(|(at, _)| *at >= sent);
        let seen = seen.map(|(_, activity)| activity);
        if !refused && seen == Some(Activity::Busy) && self.is_excused(now, sent) {
            self.forget_misses();
            self.settle();
            return;
        }
        self.witnessed = seen;
        self.missed = self.missed.saturating_add(1);
        self.missed_at = Some(now);
        self.silent_since.get_or_insert(sent);
        self.refused = refused;
        if refused {
            self.unanswered = 0;
            self.dead_since.get_or_insert(now);
        } else {
            self.unanswered = self.unanswered.saturating_add(1);
        }
        if self.phase == BrokerPhase::Returning {
            self.phase = BrokerPhase::Down;
        }
        self.settle();
    }

    /// Its process was looked at.
    pub(crate) fn on_activity(&mut self, now: Moment, activity: Activity) {
        self.activity = Some((now, activity));
    }

    /// A message that was sent then has passed through it. It has not answered, so it stays suspect; but it is not hung.
    pub(crate) fn on_passage(&mut self, sent: Moment) {
        if self.silent_since.is_some_and(|since| sent >= since) && !self.refused {
            self.unanswered = 0;
            self.silent_since = None;
        }
    }

    /// A busy process has missed the heartbeat sent then: it has some time for that.
    fn is_excused(&mut self, now: Moment, sent: Moment) -> bool {
        let since = *self.busy_since.get_or_insert(sent);
        now.saturating_sub(since) < BUSY
    }

    pub(crate) fn on_process(&mut self, now: Moment, process: Process) {
        self.lost = false;
        if self.process != Some(process) {
            self.busy_since = None;
        }
        self.process = Some(process);
        if is_dead(process) {
            self.dead_since.get_or_insert(now);
            if self.phase == BrokerPhase::Returning {
                self.phase = BrokerPhase::Down;
            }
        }
        self.settle();
    }

    pub(crate) fn on_supervisor_lost(&mut self) {
        self.lost = true;
        self.process = None;
        self.settle();
    }

    /// The controller was stalled or isolated until `now`, for `gap`: what was missed meanwhile proves nothing.
    pub(crate) fn discount(&mut self, now: Moment, gap: Duration) {
        self.forget_misses();
        self.busy_since = None;
        self.trusted_from = now;
        self.dead_since = self.dead_since.map(|since| since.saturating_add(gap).min(now));
        if self.phase == BrokerPhase::Returning {
            self.returning_since = Some(now);
            self.answers = 0;
        }
        self.settle();
    }

    fn forget_misses(&mut self) {
        self.unanswered = 0;
        self.missed = 0;
        self.refused = false;
        self.silent_since = None;
        self.missed_at = None;
        self.witnessed = None;
    }

    fn settle(&mut self) {
        if self.is_out() || (self.phase == BrokerPhase::Pending && !self.ran) {
            return;
        }
        let late = self.missed > 0 || self.busy_since.is_some();
        let amiss = late || self.lost || self.dead_since.is_some() || self.is_hung();
        if amiss {
            self.phase = BrokerPhase::Suspect;
        } else if self.round_trip.is_some() {
            self.phase = BrokerPhase::Ready;
        }
    }

    fn is_hung(&self) -> bool {
        matches!(self.process, Some(Process::Hung { .. }))
    }

    fn process_is_dead(&self) -> bool {
        self.process.is_some_and(is_dead)
    }

    fn limit(&self, rules: &Rules) -> Duration {
        if self.ran {
            rules.after
        } else {
            rules.after.max(rules.start)
        }
    }

    /// When it must be judged again though nothing happens.
    pub(crate) fn deadline(&self, rules: &Rules) -> Option<Moment> {
        if self.is_out() {
            return None;
        }
        self.dead_since
            .map(|since| since.saturating_add(self.limit(rules)))
    }

    /// It has missed enough to be down and waits for evidence that agrees.
    pub(crate) fn awaits_agreement(&self, rules: &Rules) -> bool {
        !self.is_out() && !self.process_is_dead() && self.unanswered >= rules.misses
    }

    /// Declares it down if the evidence agrees. True if it was declared down now.
    pub(crate) fn judge(&mut self, now: Moment, rules: &Rules, around: Surroundings) -> bool {
        if self.is_out() {
            return false;
        }
        let Some(evidence) = self
            .proof_of_death(now, rules)
            .or_else(|| self.proof_of_hang(now, rules, around))
        else {
            return false;
        };
        self.evidence = evidence;
        self.phase = BrokerPhase::Down;
        true
    }

    fn proof_of_death(&self, now: Moment, rules: &Rules) -> Option<Vec<String>> {
        let since = self.dead_since?;
        if now < since.saturating_add(self.limit(rules)) {
            return None;
        }
        let mut evidence = Vec::new();
        if let Some(process) = self.process.filter(|process| is_dead(*process)) {
            evidence.push(format!(
                "its supervisor says that the process is {}",
                word(process)
            ));
        }
        if self.refused {
            evidence.push("its port refuses connections".to_owned());
        }
        // A refused port alone might be a listener on its way: then heartbeats have to agree.
        let refuses = self.refused && self.missed >= rules.misses;
        if !(self.process_is_dead() || refuses) {
            return None;
        }
        evidence.push(format!(
            "no heartbeat was answered for {}",
            spoken(now.saturating_sub(since))
        ));
        if self.lost {
            evidence.push("its supervisor is gone".to_owned());
        }
        Some(evidence)
    }

    fn proof_of_hang(&self, now: Moment, rules: &Rules, around: Surroundings) -> Option<Vec<String>> {
        if !self.awaits_agreement(rules) {
            return None;
        }
        let (since, missed_at) = (self.silent_since?, self.missed_at?);
        if !self.ran && now < since.saturating_add(rules.start) {
            return None;
        }
        let reached = around
            .contact
            .is_some_and(|contact| contact > missed_at.saturating_sub(rules.interval));
        let frozen = self.witnessed == Some(Activity::Frozen);
        if !(self.is_hung() || frozen || reached || around.alone) {
            return None;
        }
        // Who was slow just now may be slower still; but a process that is stopped will not answer at all.
        if !frozen && self.unanswered < rules.misses.saturating_add(self.patience(rules)) {
            return None;
        }
        let mut evidence = vec![format!("{} heartbeats in a row were missed", self.unanswered)];
        if self.is_hung() {
            evidence.push("its supervisor says that the process is stopped in its tracks".to_owned());
        }
        let busy = || self.busy_since.map(|since| spoken(now.saturating_sub(since)));
        evidence.extend(match self.witnessed {
            Some(Activity::Frozen) if !self.is_hung() => {
                Some("its process is stopped in its tracks".to_owned())
            }
            Some(Activity::Asleep) => Some("its process sleeps and takes no notice of them".to_owned()),
            Some(Activity::Stalled) => Some("its process waits for a disk and gets nowhere".to_owned()),
            Some(Activity::Busy) => {
                busy().map(|time| format!("its process has been busy with something else for {time}"))
            }
            Some(Activity::Frozen) | None => None,
        });
        if reached {
            evidence.push("other brokers answered meanwhile".to_owned());
        }
        if self.lost {
            evidence.push("its supervisor is gone".to_owned());
        }
        Some(evidence)
    }

    /// How many more heartbeats than usual it may miss: twice what its recent answers took, within reason.
    fn patience(&self, rules: &Rules) -> u32 {
        let more = self.pace.as_nanos().saturating_mul(2) / rules.interval.as_nanos().max(1);
        u32::try_from(more).unwrap_or(u32::MAX).min(rules.misses)
    }

    /// It has answered long enough to be taken back, as far as heartbeats and its process go.
    pub(crate) fn is_stable(&self, now: Moment, rules: &Rules) -> bool {
        self.phase == BrokerPhase::Returning
            && self.answers >= rules.misses.max(2)
            && !self.is_hung()
            && !self.process_is_dead()
            && self
                .returning_since
                .is_some_and(|since| now.saturating_sub(since) >= rules.window())
    }

    /// It is taken back.
    pub(crate) fn take_back(&mut self) {
        self.phase = BrokerPhase::Suspect;
        self.returning_since = None;
        self.answers = 0;
        self.evidence.clear();
        self.settle();
    }
}

/// A duration for people: `350 ms`, `5.0 s`, `2.5 min`.
pub(crate) fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else if duration < Duration::from_secs(100) {
        format!("{seconds:.1} s")
    } else {
        format!("{:.1} min", seconds / 60.0)
    }
}

fn is_dead(process: Process) -> bool {
    matches!(process, Process::Restarting | Process::Held | Process::Stopped)
}

fn word(process: Process) -> &'static str {
    match process {
        Process::Running { .. } => "running",
        Process::Restarting => "dead and being restarted",
        Process::Held => "held down",
        Process::Hung { .. } => "stopped in its tracks",
        Process::Stopped => "not running",
    }
}

#[cfg(test)]
mod tests;
