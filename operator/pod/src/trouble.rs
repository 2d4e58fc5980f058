//! What goes wrong again and again, said once in a while.

use std::fmt::Display;
use std::time::Duration;

use skein_agent::say;
use tokio::time::Instant;

/// How long the same is not said again.
const SAME: Duration = Duration::from_mins(1);

/// What was last said to be wrong, and when.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Option<(String, Instant)>);

impl Trouble {
    /// Says what is wrong, unless it just did.
    pub(crate) fn say(&mut self, what: impl Display) {
        let what = what.to_string();
        if self.is_news(&what) {
            say::line(format_args!("{what}"));
            self.0 = Some((what, Instant::now()));
        }
    }

    fn is_news(&self, what: &str) -> bool {
        !matches!(&self.0, Some((said, when)) if said == what && when.elapsed() < SAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_is_said_once_a_minute() {
        let mut trouble = Trouble::default();
        trouble.say("one");
        assert!(!trouble.is_news("one"));
        assert!(trouble.is_news("another"));
        tokio::time::advance(SAME).await;
        assert!(trouble.is_news("one"));
    }
}
