//! `skein diff`

use std::path::Path;
use std::process::ExitCode;

use skein_commands::diff::{self, steps};
use skein_commands::{Failure, manifests};
use skein_local::manifests::read;

use crate::arguments::Diff;
use crate::source;

pub(crate) fn run(arguments: &Diff) -> Result<ExitCode, Failure> {
    let Diff { old, new, .. } = arguments;
    let (format, exit_code) = (arguments.output.format, arguments.exit_code);
    if arguments.steps {
        let declared = |path: &Path| manifests::declared(path, read(path));
        let (before, after) = manifests::both(declared, old, new)?;
        return steps::run((before, &old.display().to_string()), after, format, exit_code);
    }
    let (old, new) = source::both(old, new)?;
    diff::run(&old, &new, format, exit_code)
}
