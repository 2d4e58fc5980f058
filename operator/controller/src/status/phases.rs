//! Phases of migrations as resources have them, and their times.

use std::collections::BTreeMap;

use jiff::Timestamp;
use skein_api::resources::{MigrationPhase, PhaseTime};
use skein_engine::directive::{self, Reason};

use super::conditions::whole_seconds;

const ALL: [directive::MigrationPhase; 12] = [
    directive::MigrationPhase::Pending,
    directive::MigrationPhase::Detected,
    directive::MigrationPhase::Fenced,
    directive::MigrationPhase::Seeded,
    directive::MigrationPhase::Retargeted,
    directive::MigrationPhase::Adopted,
    directive::MigrationPhase::Draining,
    directive::MigrationPhase::Completed,
    directive::MigrationPhase::FailingBack,
    directive::MigrationPhase::FailedBack,
    directive::MigrationPhase::Aborted,
    directive::MigrationPhase::Failed,
];

pub(super) const fn of_resource(phase: directive::MigrationPhase) -> MigrationPhase {
    match phase {
        directive::MigrationPhase::Pending => MigrationPhase::Pending,
        directive::MigrationPhase::Detected => MigrationPhase::Detected,
        directive::MigrationPhase::Fenced => MigrationPhase::Fenced,
        directive::MigrationPhase::Seeded => MigrationPhase::Seeded,
        directive::MigrationPhase::Retargeted => MigrationPhase::Retargeted,
        directive::MigrationPhase::Adopted => MigrationPhase::Adopted,
        directive::MigrationPhase::Draining => MigrationPhase::Draining,
        directive::MigrationPhase::Completed => MigrationPhase::Completed,
        directive::MigrationPhase::FailingBack => MigrationPhase::FailingBack,
        directive::MigrationPhase::FailedBack => MigrationPhase::FailedBack,
        directive::MigrationPhase::Aborted => MigrationPhase::Aborted,
        directive::MigrationPhase::Failed => MigrationPhase::Failed,
    }
}

pub(super) const fn of_engine(phase: MigrationPhase) -> directive::MigrationPhase {
    match phase {
        MigrationPhase::Pending => directive::MigrationPhase::Pending,
        MigrationPhase::Detected => directive::MigrationPhase::Detected,
        MigrationPhase::Fenced => directive::MigrationPhase::Fenced,
        MigrationPhase::Seeded => directive::MigrationPhase::Seeded,
        MigrationPhase::Retargeted => directive::MigrationPhase::Retargeted,
        MigrationPhase::Adopted => directive::MigrationPhase::Adopted,
        MigrationPhase::Draining => directive::MigrationPhase::Draining,
        MigrationPhase::Completed => directive::MigrationPhase::Completed,
        MigrationPhase::FailingBack => directive::MigrationPhase::FailingBack,
        MigrationPhase::FailedBack => directive::MigrationPhase::FailedBack,
        MigrationPhase::Aborted => directive::MigrationPhase::Aborted,
        MigrationPhase::Failed => directive::MigrationPhase::Failed,
    }
}

/// What a record calls a phase.
fn word(phase: directive::MigrationPhase) -> String {
    format!("{phase:?}")
}

/// Where a phase comes among those that were entered within one second.
const fn rank(phase: MigrationPhase, reason: Reason) -> u8 {
    match (phase, reason) {
        // A drain waits for its clients before their address moves.
        (MigrationPhase::Draining, Reason::Drain) => 2 * MigrationPhase::Retargeted as u8,
        (phase, _) => 2 * phase as u8 + 1,
    }
}

/// Oldest first. What is no phase or no time is left out.
pub(super) fn times(times: &BTreeMap<String, String>, reason: Reason) -> Vec<PhaseTime> {
    let known = ALL.into_iter().filter_map(|phase| {
        let at: Timestamp = times.get(&word(phase))?.parse().ok()?;
        Some(PhaseTime {
            phase: of_resource(phase),
            at: whole_seconds(at),
        })
    });
    let mut times: Vec<PhaseTime> = known.collect();
    times.sort_by_key(|time| (time.at.0, rank(time.phase, reason)));
    times
}

/// As a record keeps them: RFC 3339, UTC.
pub(super) fn recorded(times: &[PhaseTime]) -> BTreeMap<String, String> {
    let time = |time: &PhaseTime| (word(of_engine(time.phase)), time.at.0.to_string());
    times.iter().map(time).collect()
}
