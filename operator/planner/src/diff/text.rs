//! A difference as text: `+` added, `-` removed, `~` changed; details indented below.

use std::fmt;

use super::{
    Change, ClassChange, ClassFate, ClassState, Diff, LinkChange, PathChange, StandIn, SubstituteChange, Way,
};
use crate::explain::{arrows, listed};
use crate::plan::{Equivalence, Severity};

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Added => "+",
            Self::Removed => "-",
            Self::Changed => "~",
        })
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.classes {
            writeln!(f, "{change}")?;
        }
        for change in &self.paths {
            writeln!(f, "{change}")?;
        }
        for change in &self.links {
            write!(f, "{change}")?;
        }
        for change in &self.substitutes {
            writeln!(f, "{change}")?;
        }
        for change in &self.findings {
            let finding = &change.finding;
            let severity = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Info => "info",
            };
            writeln!(
                f,
                "{} {severity} {}: {}",
                change.change, finding.object, finding.message
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for ClassChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |states: &[ClassState]| listed(states.iter().map(|state| &state.name));
        let (old, new) = (names(&self.old), names(&self.new));
        match self.fate {
            ClassFate::Added => write!(f, "+ class {new}")?,
            ClassFate::Removed => write!(f, "- class {old}")?,
            ClassFate::Renamed => write!(f, "~ class {old} is now called {new}")?,
            ClassFate::Merged => write!(f, "~ classes {old} merge into {new}")?,
            ClassFate::Split => write!(f, "~ class {old} splits into {new}")?,
            ClassFate::Regrouped => write!(f, "~ classes {old} become {new}")?,
            ClassFate::Changed => write!(f, "~ class {new}")?,
        }
        if let ([old], [new]) = (self.old.as_slice(), self.new.as_slice())
            && old.root != new.root
        {
            let name = |state: &ClassState| {
                state
                    .root
                    .as_ref()
                    .map_or("nowhere".to_owned(), ToString::to_string)
            };
            write!(f, ": root {} → {}", name(old), name(new))?;
        }
        if !self.old.is_empty() && !self.gained.is_empty() {
            write!(f, "; topic {} joins", listed(&self.gained))?;
        }
        if !self.new.is_empty() && !self.lost.is_empty() {
            write!(f, "; topic {} leaves", listed(&self.lost))?;
        }
        Ok(())
    }
}

fn way(way: &Way) -> String {
    if way.path.is_empty() {
        "no way".to_owned()
    } else {
        format!("{} (cost {})", arrows(&way.path), way.cost)
    }
}

impl fmt::Display for PathChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} path {}: ", self.change, self.topic)?;
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "{}  was  {}", way(new), way(old)),
            (Some(only), None) | (None, Some(only)) => write!(f, "{}", way(only)),
            (None, None) => Ok(()),
        }?;
        // Where there is no way, the ends are not to be seen in it.
        if [&self.old, &self.new]
            .into_iter()
            .flatten()
            .any(|way| way.path.is_empty())
        {
            write!(f, ", from {} to {}", self.producer, self.consumer)?;
        }
        Ok(())
    }
}

impl fmt::Display for LinkChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let note = match (
            self.change,
            self.gained.is_empty() && self.lost.is_empty(),
            self.control,
        ) {
            (Change::Changed, true, true) => ": control lines only",
            _ => "",
        };
        writeln!(
            f,
            "{} link {} ← {} {} of {}{note}",
            self.change, self.downstream, self.upstream, self.mode, self.class
        )?;
        for line in &self.lost {
            writeln!(f, "    - {line}")?;
        }
        for line in &self.gained {
            writeln!(f, "    + {line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for SubstituteChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |who: &Option<StandIn>| match who {
            None => "nobody".to_owned(),
            Some(StandIn {
                broker,
                equivalence,
                missing,
            }) => {
                let fit = match equivalence {
                    Equivalence::Strong => "strong",
                    Equivalence::Weak => "weak",
                    Equivalence::Partial => "partial",
                };
                let lacks = if *missing == 0 {
                    String::new()
                } else {
                    format!(", lacks {}", roles(*missing))
                };
                format!("{broker} ({fit}{lacks})")
            }
        };
        if self.old == self.new {
            write!(f, "~ death of {}: ", self.broker)?;
        } else {
            write!(
                f,
                "~ substitute of {}: {}  was  {}",
                self.broker,
                name(&self.new),
                name(&self.old)
            )?;
        }
        if self.old_gaps != self.new_gaps {
            let lead = if self.old == self.new { "" } else { "; its death " };
            write!(
                f,
                "{lead}interrupts {}, was {}",
                flows(self.new_gaps),
                self.old_gaps
            )?;
        }
        Ok(())
    }
}

fn roles(number: usize) -> String {
    if number == 1 {
        "1 role".to_owned()
    } else {
        format!("{number} roles")
    }
}

fn flows(number: usize) -> String {
    if number == 1 {
        "1 flow".to_owned()
    } else {
        format!("{number} flows")
    }
}
