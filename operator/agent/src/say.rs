//! What a supervisor or forwarder writes for people: a line with the time on standard error, which its spawner keeps.

use std::fmt::Arguments;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Writes one line. A closed standard error is no reason to stop.
pub fn line(text: Arguments<'_>) {
    let now = now();
    let _ = writeln!(std::io::stderr(), "{}.{:03} {text}", now / 1000, now % 1000);
}

/// `format!` for [`line`].
macro_rules! say {
    ($($argument:tt)*) => { $crate::say::line(format_args!($($argument)*)) };
}
pub(crate) use say;
