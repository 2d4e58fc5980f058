//! The steps a supervisor takes: into a new configuration, back to the last good one, and on after a death.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::{LONGEST_PAUSE, LOOKS, Supervisor};
use crate::directory::Configuration;
use crate::files::{self, FileError};
use crate::judge::{self, Knowledge, Way};
use crate::obstacle::obstacle;
use crate::process::{Broker, last_words, log_size, rotate, write_config};
use crate::ready::{self, Outcome, Reading, Reload};
use crate::report::{Exit, Rejected};
use crate::say::say;
use crate::seams::{Administration, ConfigSource, ReportSink};
use crate::sockets::Sockets;
use crate::users;

/// A process that lived shorter than this did not get to work, unless it listened and was killed from outside.
const QUICK_DEATH: Duration = Duration::from_millis(250);
/// The pause before the second start in a row of a process that does not get to work; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

impl<S, R, A, K> Supervisor<S, R, A, K>
where
    S: ConfigSource,
    R: ReportSink,
    A: Administration,
    K: Knowledge,
{
    /// Gets a new configuration into use, or says why not.
    pub(super) async fn take(&mut self, new: Configuration) -> Result<(), FileError> {
        let objection = judge::objection(
            &self.directory,
            &self.mosquitto,
            self.version,
            &self.knowledge,
            &new.config,
        );
        if let Some(reason) = objection.await? {
            self.reject(new.epoch, reason);
            return Ok(());
        }
        let way = match (&self.broker, &self.loaded) {
            (Some(_), Some(old)) if !self.is_unsure() => {
                self.knowledge.way(&old.config, &new.config, self.version)
            }
            _ => Way::Restart,
        };
        match way {
            Way::Nothing => self.accept(new).await,
            Way::Reload { stages } => self.reload(new, &stages).await,
            Way::Restart => {
                if let Some(broker) = self.broker.take() {
                    say!("restarts process {} for epoch {}", broker.identity.pid, new.epoch);
                    self.last_exit = Some(broker.stop().await);
                    self.publish().await;
                }
                if self.hold.is_some() {
                    // The next start uses it.
                    return self.accept(new).await;
                }
                self.start(new).await
            }
        }
    }

    /// Lets the running process read a new configuration, by way of others.
    async fn reload(&mut self, new: Configuration, stages: &[String]) -> Result<(), FileError> {
        let Some(broker) = &self.broker else {
            return self.start(new).await;
        };
        let log = self.directory.log();
        let since = log_size(&log);
        let pid = broker.identity.pid;
        for text in stages.iter().chain([&new.config]) {
            write_config(&self.directory, text)?;
            let reading = Reading::of(&self.directory.config_file());
            broker.signal(Signal::HUP);
            match reading.reloaded(broker).await {
                Reload::Over(Outcome::Loaded) => {}
                Reload::Unnoticed => {
                    say!(
                        "process {pid} does not read epoch {}: it is asked again",
                        new.epoch
                    );
                    self.retry = Some(Instant::now() + LONGEST_PAUSE);
                    return Ok(());
                }
                Reload::Over(Outcome::Died) => {
                    let words = last_words(&log, since).unwrap_or_default();
                    self.bury();
                    say!("the broker died of reloading epoch {}: {words}", new.epoch);
                    // It may only be the reload that it cannot bear: a start shows.
                    let new = new.clone();
                    return self.start(new).await;
                }
            }
        }
        say!("process {pid} reloaded epoch {}", new.epoch);
        self.accept(new).await
    }

    /// Starts a process on a configuration that none was seen to live with, and sees.
    async fn start(&mut self, new: Configuration) -> Result<(), FileError> {
        let log = self.directory.log();
        rotate(&log, &self.directory.older_log());
        let since = log_size(&log);
        write_config(&self.directory, &new.config)?;
        self.all_barred = users::lay_out(&self.directory, &new.config)?;
        let broker = self
            .broker
            .insert(Broker::start(&self.mosquitto, &self.directory)?);
        match ready::started(broker, &ready::ports(&new.config)).await {
            Outcome::Loaded => {
                say!("process {} runs epoch {}", broker.identity.pid, new.epoch);
                broker.listened = true;
                self.accept(new).await
            }
            Outcome::Died => {
                self.bury();
                let words = last_words(&log, since)
                    .map(|words| format!(": {words}"))
                    .unwrap_or_default();
                let end = self.last_exit.as_ref().map(Exit::to_string).unwrap_or_default();
                self.reject(new.epoch, format!("the broker {end} at its start{words}"));
                // While held it was accepted unseen.
                if self.good.as_ref().is_some_and(|good| *good != new) {
                    self.loaded.clone_from(&self.good);
                    self.retry = None;
                    if let Some(good) = &self.loaded {
                        self.directory.set_loaded(good)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Starts a process on what the last one used.
    pub(super) async fn start_loaded(&mut self) -> Result<(), FileError> {
        let Some(loaded) = self.loaded.clone() else {
            return Ok(());
        };
        if self.good.as_ref() != Some(&loaded) {
            return self.start(loaded).await;
        }
        // A full disk must not keep a broker down whose file is as it should be.
        if files::read(&self.directory.config_file()).ok().flatten().as_ref() != Some(&loaded.config) {
            write_config(&self.directory, &loaded.config)?;
        }
        self.all_barred = users::lay_out(&self.directory, &loaded.config)?;
        let broker = self
            .broker
            .insert(Broker::start(&self.mosquitto, &self.directory)?);
        say!("process {} runs epoch {}", broker.identity.pid, loaded.epoch);
        // Nobody waits for it to listen: a start at once is what matters, and if it dies that is seen as any death.
        self.publish().await;
        self.administration.loaded(&loaded).await;
        Ok(())
    }

    /// Makes a configuration the one in use.
    async fn accept(&mut self, new: Configuration) -> Result<(), FileError> {
        self.rejected = None;
        if let Some(broker) = &mut self.broker {
            broker.unsure = false;
        }
        // Known first, written then: what cannot be written must not be done to the broker again and again.
        self.loaded = Some(new.clone());
        if self.broker.is_some() {
            self.obstacle = None;
            self.good = Some(new.clone());
            self.administration.loaded(&new).await;
        }
        write_config(&self.directory, &new.config)?;
        self.directory.set_loaded(&new)
    }

    fn reject(&mut self, epoch: u64, reason: String) {
        say!("refuses epoch {epoch}: {reason}");
        self.rejected = Some(Rejected { epoch, reason });
        if self.loaded.is_none() && self.retry.is_none() {
            self.retry = Some(Instant::now() + LONGEST_PAUSE);
        }
    }

    /// Ends a process that takes nothing any more; the next start follows as after any death. What it has in memory only is
    /// saved if it can still be woken.
    pub(super) async fn end_if_hung(&mut self) {
        let Some(broker) = self
            .broker
            .as_ref()
            .filter(|broker| broker.listened && !broker.frozen)
        else {
            self.stagnation.forget();
            return;
        };
        let pid = broker.identity.pid;
        if self.stagnation.look(pid) < LOOKS {
            return;
        }
        self.stagnation.forget();
        match Sockets::of(pid) {
            Some(sockets) if !sockets.are_served().await => {}
            _ => return,
        }
        say!(
            "process {} has taken nothing of what arrived for {} s: it is restarted",
            pid,
            (self.work_look * LOOKS).as_secs()
        );
        if let Some(broker) = self.broker.take() {
            self.last_exit = Some(broker.stop().await);
            self.restarts += 1;
        }
    }

    /// Notes that the process is dead, and when to start the next.
    pub(super) fn bury(&mut self) {
        let Some(broker) = self.broker.take() else { return };
        let (pid, lived, listened) = (broker.identity.pid, broker.since.elapsed(), broker.listened);
        if !listened {
            let words = last_words(&self.directory.log(), broker.log_since).unwrap_or_default();
            self.obstacle = obstacle(&words, &self.directory.data());
        }
        let exit = broker.reap();
        say!("process {pid} {exit}");
        let killed = exit.signal == Some(Signal::KILL.as_raw());
        self.last_exit = Some(exit);
        let worked = lived >= QUICK_DEATH || (listened && killed);
        self.quick_deaths = if worked { 0 } else { self.quick_deaths + 1 };
        self.retry = pause(self.quick_deaths).map(|pause| Instant::now() + pause);
    }
}

/// How long to wait after so many quick deaths in a row: not at all after the first, which may be a mere accident.
pub(super) fn pause(quick_deaths: u32) -> Option<Duration> {
    let doublings = quick_deaths.checked_sub(2)?;
    Some(
        FIRST_PAUSE
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(LONGEST_PAUSE),
    )
}
