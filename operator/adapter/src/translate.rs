//! What the other crates say, in the engine's words.

use skein_agent::{ProcessState, Report};
use skein_engine::event::{self, Process};

/// A supervisor's report.
#[must_use]
pub fn report(report: &Report) -> event::Report {
    event::Report {
        loaded: report.loaded,
        rejected: report
            .rejected
            .as_ref()
            .map(|rejected| (rejected.epoch, rejected.reason.clone())),
        version: report.version.clone(),
        process: match report.process {
            ProcessState::Running { pid } => Process::Running { pid },
            ProcessState::Restarting => Process::Restarting,
            ProcessState::Held => Process::Held,
            ProcessState::Hung { pid } => Process::Hung { pid },
            ProcessState::Stopped => Process::Stopped,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_agent::Rejected;

    #[test]
    fn a_report_says_the_same_in_both_languages() {
        let said = Report {
            supervisor_pid: 1,
            process: ProcessState::Hung { pid: 7 },
            loaded: Some(3),
            rejected: Some(Rejected {
                epoch: 4,
                reason: "unknown option".to_owned(),
            }),
            version: Some("2.1.2".to_owned()),
            restarts: 2,
            last_exit: None,
            all_barred: None,
            obstacle: None,
            started_at: None,
            at: 0,
        };
        let heard = event::Report {
            loaded: Some(3),
            rejected: Some((4, "unknown option".to_owned())),
            version: Some("2.1.2".to_owned()),
            process: Process::Hung { pid: 7 },
        };
        assert_eq!(report(&said), heard);
    }
}
