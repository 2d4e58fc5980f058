//! Results on their way out: text for people, or a view as JSON or YAML.

use serde::Serialize;

use crate::arguments::Format;
use crate::failure::Failure;

/// Prints a view in a format; `human` makes the text for people. Says whether there is still a reader.
pub fn print<View: Serialize>(
    format: Format,
    view: &View,
    human: impl FnOnce() -> String,
) -> Result<bool, Failure> {
    let text = match format {
        Format::Table => human(),
        Format::Json => json(view)?,
        Format::Yaml => serde_saphyr::to_string(view)
            .map_err(|error| Failure::could_not(format!("cannot write YAML: {error}")))?,
    };
    write(&text)
}

/// A view as JSON, with a line break at the end.
pub fn json<View: Serialize>(view: &View) -> Result<String, Failure> {
    serde_json::to_string_pretty(view)
        .map(|text| text + "\n")
        .map_err(|error| Failure::could_not(format!("cannot write JSON: {error}")))
}

/// Prints text, and says whether there is still a reader: one that went away (`| head`) is no failure.
pub fn write(text: &str) -> Result<bool, Failure> {
    write_bytes(text.as_bytes())
}

/// The same for bytes, which must be UTF-8 to pass a terminal.
pub fn write_bytes(bytes: &[u8]) -> Result<bool, Failure> {
    use std::io::{ErrorKind, Write as _};
    let mut out = anstream::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::could_not(format!(
            "cannot write to standard output: {error}"
        ))),
    }
}

/// Prints a line to standard error. That nobody reads it changes nothing: the exit code says what is the case.
pub fn tell(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}
