//! `skein diff`

use std::process::ExitCode;

use skein_commands::diff::{self, steps};
use skein_commands::{Failure, manifests};

use crate::arguments::Diff;
use crate::source;

pub(crate) fn run(arguments: &Diff) -> Result<ExitCode, Failure> {
    let Diff { old, new, .. } = arguments;
    let (format, exit_code) = (arguments.output.format, arguments.exit_code);
    if arguments.steps {
        let (before, after) = manifests::both(manifests::declared, old, new)?;
        return steps::run((before, &old.display().to_string()), after, format, exit_code);
    }
    let (old, new) = source::both(old, new)?;
    diff::run(&old, &new, format, exit_code)
}
