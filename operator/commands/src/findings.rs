//! What a plan says of itself, as lines and as an exit code.

use std::process::ExitCode;

use skein_planner::plan::{Finding, Severity};

use crate::paint::{count, paint, severity};

/// 1 if a finding is an error, else 0.
pub(crate) fn verdict(findings: &[Finding]) -> ExitCode {
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Findings as lines: `error: topic/soil: message`.
pub(crate) fn finding_lines(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(|finding| {
            let (word, style) = severity(finding.severity);
            format!(
                "{} {}: {}\n",
                paint(style, format!("{word}:")),
                finding.object,
                finding.message
            )
        })
        .collect()
}

/// `no findings`, or `1 error, 2 warnings`.
pub(crate) fn finding_count(findings: &[Finding]) -> String {
    let of = |wanted| {
        findings
            .iter()
            .filter(|finding| finding.severity == wanted)
            .count()
    };
    let parts: Vec<String> = [
        (Severity::Error, "error"),
        (Severity::Warning, "warning"),
        (Severity::Info, "note"),
    ]
    .into_iter()
    .filter(|(wanted, _)| of(*wanted) > 0)
    .map(|(wanted, word)| count(of(wanted), word))
    .collect();
    if parts.is_empty() {
        "no findings".to_owned()
    } else {
        parts.join(", ")
    }
}
