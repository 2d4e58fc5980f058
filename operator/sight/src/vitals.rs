//! What a broker's process did while it left a heartbeat unanswered, as the kernel tells: `/proc/PID/stat` and
//! `/proc/PID/schedstat` (proc(5)). Needs no supervisor. Judges nothing: the engine weighs it.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use skein_agent::identity::{Identity, stat_fields};
use skein_api::name::BrokerName;
use skein_engine::event::Activity;
use tokio::time::Instant;

/// The processes that were looked at.
#[derive(Debug, Default)]
pub struct Vitals {
    seen: BTreeMap<BrokerName, Seen>,
}

#[derive(Debug)]
struct Seen {
    identity: Identity,
    clocks: Clocks,
    /// When it was last found to have got on since the look before.
    busy: Instant,
}

impl Vitals {
    /// Looks at a process that left a heartbeat unanswered for an interval; `None` if it is gone or cannot be seen.
    ///
    /// Of the time between two looks it is not known when the process got on. So as long as it may have been in this
    /// interval, it was.
    pub fn look(&mut self, broker: &BrokerName, identity: &Identity, interval: Duration) -> Option<Activity> {
        let Look { state, clocks } = Look::at(identity.pid)?;
        let now = Instant::now();
        let known = self.seen.get(broker).filter(|seen| seen.identity == *identity);
        let got_on = state == b'R' || known.is_none_or(|seen| seen.clocks != clocks);
        let busy = known.filter(|_| !got_on).map_or(now, |seen| seen.busy);
        if got_on {
            let (identity, broker) = (identity.clone(), broker.clone());
            self.seen.insert(
                broker,
                Seen {
                    identity,
                    clocks,
                    busy,
                },
            );
        }
        match state {
            b'T' | b't' => Some(Activity::Frozen),
            b'Z' | b'X' | b'x' => None,
            // Looks are as far apart as intervals, more or less: two of them in a hurry tell nothing new.
            _ if now.duration_since(busy) < interval / 2 => Some(Activity::Busy),
            b'D' => Some(Activity::Stalled),
            _ => Some(Activity::Asleep),
        }
    }

    /// Forgets a broker that is no longer watched.
    pub fn forget(&mut self, broker: &BrokerName) {
        self.seen.remove(broker);
    }
}

/// What a process has used so far: all of it only grows, and none of it while it hangs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Clocks {
    /// Time on a processor, and time it waited for one, in nanoseconds: its first thread, which is all of Mosquitto.
    /// Empty where the kernel does not count it.
    schedule: Vec<u8>,
    /// User and system time of all its threads, in clock ticks.
    ticks: (u64, u64),
}

struct Look {
    /// One letter, as in `/proc/PID/stat`.
    state: u8,
    clocks: Clocks,
}

impl Look {
    fn at(pid: u32) -> Option<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let schedule = fs::read(format!("/proc/{pid}/schedstat")).unwrap_or_default();
        Self::read(&stat, schedule)
    }

    fn read(stat: &[u8], schedule: Vec<u8>) -> Option<Self> {
        let mut fields = stat_fields(stat)?;
        let state = *fields.next()?.as_bytes().first()?;
        // The state was field 3; user and system time are fields 14 and 15.
        let ticks = (fields.nth(10)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self {
            state,
            clocks: Clocks { schedule, ticks },
        })
    }
}

/// What a process has taken so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Seconds on a processor.
    pub cpu: f64,
    /// Bytes of memory that are resident.
    pub resident: u64,
}

impl Usage {
    /// That of a process; none if it is gone.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat_fields(&stat)?.collect();
        // The first of these is field 3; user time, system time and resident pages are fields 14, 15 and 24.
        let field = |number: usize| fields.get(number - 3)?.parse::<u32>().ok();
        let ticks = f64::from(field(14)?) + f64::from(field(15)?);
        let a_second = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
        Some(Self {
            cpu: ticks / f64::from(a_second),
            resident: u64::from(field(24)?) * u64::try_from(rustix::param::page_size()).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use rustix::process::Signal;

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(50);

    struct Process(Child, Identity);

    impl Process {
        fn start(program: &str, arguments: &[&str]) -> Self {
            let mut command = Command::new(program);
            command.args(arguments).stdin(Stdio::null());
            let child = command.stdout(Stdio::null()).spawn().unwrap();
            let identity = Identity::of(child.id()).unwrap();
            Self(child, identity)
        }
    }

    impl Drop for Process {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    /// What is seen interval by interval until it is this; the sights before.
    fn sights(process: &Process, wanted: Activity) -> Vec<Activity> {
        let (mut vitals, broker) = (Vitals::default(), BrokerName::new("a").unwrap());
        let mut before = Vec::new();
        for _ in 0..200 {
            match vitals.look(&broker, &process.1, INTERVAL) {
                Some(activity) if activity == wanted => return before,
                other => before.extend(other),
            }
            std::thread::sleep(INTERVAL);
        }
        panic!("never {wanted:?}, but {before:?}");
    }

    #[test]
    fn a_process_that_sleeps_is_asleep_from_the_second_look_on() {
        let sleeper = Process::start("sleep", &["600"]);
        let before = sights(&sleeper, Activity::Asleep);
        assert!(!before.is_empty(), "one look alone cannot tell");
        assert!(
            before.iter().all(|activity| *activity == Activity::Busy),
            "{before:?}"
        );
    }

    #[test]
    fn a_process_that_computes_is_busy_however_little_it_gets_of_a_processor() {
        // Without a subshell: it would sleep while that one computes.
        let burner = Process::start("nice", &["-n", "19", "sh", "-c", "while :; do :; done"]);
        let (mut vitals, broker) = (Vitals::default(), BrokerName::new("a").unwrap());
        for _ in 0..10 {
            assert_eq!(vitals.look(&broker, &burner.1, INTERVAL), Some(Activity::Busy));
            std::thread::sleep(INTERVAL);
        }
    }

    #[test]
    fn what_a_process_has_taken_is_seen_until_it_is_gone() {
        let mut burner = Process::start("sh", &["-c", "while :; do :; done"]);
        let pid = burner.1.pid;
        while Usage::of(pid).unwrap().cpu < 0.05 {
            std::thread::yield_now();
        }
        let resident = Usage::of(pid).unwrap().resident;
        assert!((100 << 10..100 << 20).contains(&resident), "{resident}");
        burner.0.kill().unwrap();
        burner.0.wait().unwrap();
        assert_eq!(Usage::of(pid), None);
    }

    #[test]
    fn a_process_that_is_stopped_is_seen_at_the_first_look() {
        let stopped = Process::start("sleep", &["600"]);
        stopped.1.signal(Signal::STOP).unwrap();
        // The signal is on its way for a moment.
        while Look::at(stopped.1.pid).unwrap().state != b'T' {
            std::thread::yield_now();
        }
        assert!(sights(&stopped, Activity::Frozen).is_empty());
    }

    #[test]
    fn looks_in_quick_succession_and_looks_at_another_process_tell_nothing_new() {
        let (one, other) = (
            Process::start("sleep", &["600"]),
            Process::start("sleep", &["600"]),
        );
        let (mut vitals, broker) = (Vitals::default(), BrokerName::new("a").unwrap());
        let patient = Duration::from_hours(1);
        for process in [&one, &one, &other, &other] {
            assert_eq!(vitals.look(&broker, &process.1, patient), Some(Activity::Busy));
        }
    }

    #[test]
    fn a_name_with_blanks_and_parentheses_moves_no_field() {
        let stat = b"7 (a) b (c) D 1 7 7 0 -1 4194304 1 2 3 4 55 66 0 0";
        let look = Look::read(stat, Vec::new()).unwrap();
        assert_eq!((look.state, look.clocks.ticks), (b'D', (55, 66)));
        assert!(Look::read(b"7 (a", Vec::new()).is_none());
    }
}
