//! Retained values over links of stock Mosquitto that flow one way and both ways: what late subscribers find at each end, and
//! what those who are there get, after changes at either end and whatever breaks the link meanwhile.
//!
//! `h` holds the connection, `u` is its upstream. Three connections are compared: `in` lines only (a pull link), a `both` line
//! with `bridge_outgoing_retain false` (as Skein writes it) and the same with `true` (as Mosquitto has it unless told
//! otherwise).
//!
//! Findings, the same on both series, each kept by a test below:
//! - Pull: `h` has what `u` has. What a client sets at `h` itself is replaced when the link comes back.
//! - `false`: what is set at `u` is found at both ends, whatever happens. What is set at `h` is never found at `u`, and not at `h`
//!   either once the link has come back, if `u` has a value of its own: an older one, even a cleared one, though nothing changed
//!   meanwhile.
//! - `true`: all is well until a value is changed while the link is down. Then each end has what the other had, until the next
//!   change.
//! - With either, all that is retained at `h` is sent again when the link comes back: behind what changed at `u` meanwhile.
//! - It is queued anew by each attempt to connect, too, so what waits grows as long as the break lasts.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use skein_e2e::{Listener, Message, PATIENCE, PlainBroker, Series, mosquitto, publish_once, wait_until};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What is found, the same on both series. A column each: before; how the link breaks, if it does; what happens meanwhile
/// (`u=2`: a client at `u` publishes the value 2 with its retain flag; `-` clears); and for each of the connections, when all
/// is well again, what a late subscriber gets at `h` and at `u`; after a break also what came last to who was there all the
/// time at `h` and at `u` (`=`: nothing since the break began; `.`: not looked at).
const STORIES: &str = "\
u=1     | none   |         | 1 1      | 1 1      | 1 1
h=1     | none   |         | 1 -      | 1 -      | 1 1
u=1 h=2 | none   |         | 2 1      | 2 1      | 2 2
h=1 u=2 | none   |         | 2 2      | 2 2      | 2 2
u=1 h=- | none   |         | - 1      | - 1      | - -
h=1 u=- | none   |         | - -      | - -      | - -
u=1     | cut    |         | 1 1  1 = | 1 1  1 1 | 1 1  1 1
h=1     | cut    |         | 1 -  = = | 1 -  = 1 | 1 1  1 1
u=1 h=2 | cut    |         | 1 1  1 = | 1 1  1 2 | 2 2  2 2
h=1 u=2 | cut    |         | 2 2  2 = | 2 2  2 2 | 2 2  2 2
u=1 h=- | cut    |         | 1 1  1 = | 1 1  1 = | - -  = =
u=1     | cut    | u=2     | 2 2  2 2 | 2 2  2 1 | 2 1  2 1
u=1     | cut    | h=2     | 1 1  1 = | 1 1  1 2 | 1 2  1 2
h=1     | cut    | u=2     | 2 2  2 2 | 2 2  2 1 | 2 1  2 1
h=1     | cut    | h=2     | 2 -  2 = | 2 -  2 2 | 1 2  1 2
u=1     | cut    | u=-     | - -  - - | - -  - 1 | - 1  - 1
u=1     | cut    | h=-     | 1 1  1 = | 1 1  1 - | 1 -  1 -
h=1     | cut    | u=-     | - -  - - | - -  - 1 | - 1  - 1
h=1     | cut    | h=-     | - -  - = | - -  - - | 1 -  1 -
u=1     | cut    | h=2 u=3 | 3 3  3 3 | 3 3  3 2 | 3 2  3 2
h=1     | cut    | h=2 u=3 | 3 3  3 3 | 3 3  3 2 | 3 2  3 2
u=1     | stop h |         | 1 1  . = | 1 1  . 1 | 1 1  . 1
h=1     | stop h |         | 1 -  . = | 1 -  . 1 | 1 1  . 1
u=1 h=2 | stop h |         | 1 1  . = | 1 1  . 2 | 2 2  . 2
u=1     | stop h | u=2     | 2 2  . 2 | 2 2  . 1 | 2 1  . 1
h=1     | stop h | u=2     | 2 2  . 2 | 2 2  . 1 | 2 1  . 1
u=1     | stop h | u=-     | - -  . - | - -  . 1 | - 1  . 1
h=1     | stop h | u=-     | - -  . - | - -  . 1 | - 1  . 1
u=1     | stop u |         | 1 1  1 . | 1 1  1 . | 1 1  1 .
h=1     | stop u |         | 1 -  = . | 1 -  = . | 1 1  1 .
u=1 h=2 | stop u |         | 1 1  1 . | 1 1  1 . | 2 2  2 .
u=1     | stop u | h=2     | 1 1  1 . | 1 1  1 . | 1 2  1 .
h=1     | stop u | h=2     | 2 -  2 . | 2 -  2 . | 1 2  1 .
u=1     | stop u | h=-     | 1 1  1 . | 1 1  1 . | 1 -  1 .
h=1     | stop u | h=-     | - -  - . | - -  - . | 1 -  1 .
";

/// Pull, both ways as Skein writes it, and both ways as Mosquitto has it.
const CONNECTIONS: [&str; 3] = [
    "topic v/# in 1",
    "topic v/# both 1\nbridge_outgoing_retain false",
    "topic v/# both 1\nbridge_outgoing_retain true",
];

/// How long until a mark is published again.
const AGAIN: Duration = Duration::from_secs(1);

/// Carries one connection at a time between two ports, or none.
struct Relay {
    port: u16,
    open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Relay {
    async fn start(to: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (open, receiver) = watch::channel(true);
        let task = tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let mut receiver = receiver.clone();
                if !*receiver.borrow() {
                    continue;
                }
                tokio::spawn(async move {
                    let Ok(mut to) = TcpStream::connect(("127.0.0.1", to)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut from, &mut to) => {}
                        _ = receiver.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Ok(Self { port, open, task })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Two brokers and a connection between them that can be cut.
struct Pair {
    series: Series,
    h: PlainBroker,
    u: PlainBroker,
    relay: Relay,
    /// Whether messages flow to `h`, and to `u`.
    inwards: bool,
    outwards: bool,
    /// Those who are there all the time.
    at_h: Listener,
    at_u: Listener,
    marks: u32,
    /// How often the connection has subscribed.
    subscribed: usize,
}

impl Pair {
    async fn start(series: Series, lines: &str) -> Result<Self> {
        let binary = mosquitto(series);
        let store = "persistence true\nautosave_on_changes true\nautosave_interval 1\nlog_type all";
        let u = PlainBroker::start(&binary, store).await?;
        let relay = Relay::start(u.port()).await?;
        let config = format!(
            "{store}\nconnection u\naddress 127.0.0.1:{}\nremote_clientid h-at-u\nlocal_clientid h-local\n\
             cleansession false\nnotifications false\nrestart_timeout 1 1\n{lines}",
            relay.port
        );
        let h = PlainBroker::start(&binary, &config).await?;
        let mut pair = Self {
            series,
            at_h: Listener::start(&h.address(), "at-h", "v/#", 1).await?,
            at_u: Listener::start(&u.address(), "at-u", "v/#", 1).await?,
            h,
            u,
            relay,
            inwards: !lines.contains(" out "),
            outwards: !lines.contains(" in "),
            marks: 0,
            subscribed: 0,
        };
        pair.linked().await?;
        Ok(pair)
    }

    /// Waits until the connection is in use again, and everything has crossed.
    async fn linked(&mut self) -> Result<()> {
        let before = self.subscribed;
        let count = || {
            let log = self.h.log();
            log.matches("Received SUBACK").count() + log.matches("Received UNSUBACK").count()
        };
        wait_until("the connection to subscribe", PATIENCE, async || count() > before)
            .await
            .with_context(|| self.h.log())?;
        self.subscribed = count();
        self.crossed().await
    }

    /// Waits until all that was published before has crossed.
    async fn crossed(&mut self) -> Result<()> {
        self.marks += 1;
        let mark = format!("mark {}", self.marks);
        let ways = [
            (self.inwards, &self.u, &self.at_h),
            (self.outwards, &self.h, &self.at_u),
        ];
        for (_, from, to) in ways.into_iter().filter(|way| way.0) {
            let came = || to.messages().iter().any(|message| message.payload == mark);
            let deadline = Instant::now() + PATIENCE;
            while !came() {
                ensure!(
                    Instant::now() < deadline,
                    "{mark} does not cross: {}",
                    self.h.log()
                );
                publish_once(&from.address(), "v/mark", &mark, 1, false).await?;
                // Who waits for it may not be back yet at a broker that was away.
                let _ = wait_until("a mark to cross", AGAIN, async || came()).await;
            }
        }
        Ok(())
    }

    /// Does what a story says, `h=2 u=-`.
    async fn act(&self, topic: &str, words: &str) -> Result<()> {
        for word in words.split_whitespace() {
            let (at, value) = word.split_once('=').context("no =")?;
            let at = if at == "h" { &self.h } else { &self.u };
            let payload = if value == "-" { "" } else { value };
            publish_once(&at.address(), topic, payload, 1, true).await?;
        }
        Ok(())
    }

    /// How often a connection with lines outwards was tried.
    fn attempts(&self) -> usize {
        self.h.log().matches("doing local SUBSCRIBE").count()
    }

    /// How often `v/0` came to who is at `u`.
    fn copies(&self) -> usize {
        let messages = self.at_u.messages();
        messages.iter().filter(|message| message.topic == "v/0").count()
    }

    async fn part(&mut self, how: &str) -> Result<()> {
        match how {
            "none" => {}
            "cut" => {
                self.relay.open.send_replace(false);
                let lost = || self.u.log().matches("h-at-u").count();
                let before = lost();
                let tried = self.attempts();
                wait_until("the upstream to notice", PATIENCE, async || lost() > before).await?;
                // An attempt queues what is retained by then, so there is one before anything else happens.
                if self.outwards {
                    wait_until("an attempt", PATIENCE, async || self.attempts() > tried).await?;
                }
            }
            "stop h" => self.h.stop().await?,
            "stop u" => self.u.stop().await?,
            other => bail!("no break {other:?}"),
        }
        Ok(())
    }

    async fn join(&mut self, how: &str) -> Result<()> {
        let binary = mosquitto(self.series);
        match how {
            "none" => return self.crossed().await,
            "cut" => drop(self.relay.open.send_replace(true)),
            "stop h" => self.h.restart(&binary).await?,
            _ => self.u.restart(&binary).await?,
        }
        self.linked().await
    }
}

/// What a late subscriber finds on each topic.
async fn late(at: &PlainBroker, topics: usize) -> Result<Vec<String>> {
    let listener = Listener::start(&at.address(), "", "v/#", 1).await?;
    // A retained value comes right behind the acknowledgement of the subscription, a mark behind them all.
    publish_once(&at.address(), "v/last", "last", 1, false).await?;
    let last = |message: &Message| message.payload == "last";
    wait_until("the last", PATIENCE, async || {
        listener.messages().iter().any(last)
    })
    .await?;
    let messages = listener.messages();
    let value = |index| {
        let topic = format!("v/{index}");
        let found = messages
            .iter()
            .find(|message| message.topic == topic && message.retain);
        found.map_or("-".to_owned(), |message| message.payload.clone())
    };
    Ok((0..topics).map(value).collect())
}

/// What those who are there got last on each topic. What came before, and how often, depends on how long the break was.
fn live(at: &Listener, topics: usize) -> Vec<String> {
    let messages = at.messages();
    let of = |index| {
        let topic = format!("v/{index}");
        let mut came = messages
            .iter()
            .filter(|message| message.topic == topic && !message.retain);
        let last = came.next_back().map(|message| message.payload.as_str());
        match last {
            None => "=".to_owned(),
            Some("") => "-".to_owned(),
            Some(value) => value.to_owned(),
        }
    };
    (0..topics).map(of).collect()
}

/// Plays all stories of one kind of break on one connection; gives what is found, as in the table.
async fn play(series: Series, lines: &str, how: &str, stories: &[Vec<&str>]) -> Result<Vec<String>> {
    let mut pair = Pair::start(series, lines).await?;
    // Step by step, so that each has crossed before the next.
    for step in 0..2 {
        for (index, story) in stories.iter().enumerate() {
            if let Some(word) = story[0].split_whitespace().nth(step) {
                pair.act(&format!("v/{index}"), word).await?;
            }
        }
        pair.crossed().await?;
    }
    // Behind what comes both ways once more are the acknowledgements of all that, so that none of it comes again.
    pair.crossed().await?;
    pair.at_h.clear();
    pair.at_u.clear();
    pair.part(how).await?;
    for (index, story) in stories.iter().enumerate() {
        pair.act(&format!("v/{index}"), story[2]).await?;
    }
    pair.join(how).await?;
    let count = stories.len();
    let (h, u) = (late(&pair.h, count).await?, late(&pair.u, count).await?);
    let (live_h, live_u) = (live(&pair.at_h, count), live(&pair.at_u, count));
    let found = |index: usize| match how {
        "none" => format!("{} {}", h[index], u[index]),
        // Whether a client or the connection is back first at a broker that was away is chance.
        "stop h" => format!("{} {}  . {}", h[index], u[index], live_u[index]),
        "stop u" => format!("{} {}  {} .", h[index], u[index], live_h[index]),
        _ => format!("{} {}  {} {}", h[index], u[index], live_h[index], live_u[index]),
    };
    Ok((0..count).map(found).collect())
}

/// The table as it is found.
async fn table(series: Series) -> Result<String> {
    let rows: Vec<Vec<&str>> = STORIES
        .lines()
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let mut text = String::new();
    for how in ["none", "cut", "stop h", "stop u"] {
        let stories: Vec<Vec<&str>> = rows.iter().filter(|row| row[1] == how).cloned().collect();
        let [pull, kept, flagged] = CONNECTIONS.map(|lines| play(series, lines, how, &stories));
        let (pull, kept, flagged) = tokio::try_join!(pull, kept, flagged)?;
        for (index, story) in stories.iter().enumerate() {
            write!(text, "{:7} | {:6} | {:7}", story[0], story[1], story[2])?;
            for column in [&pull, &kept, &flagged] {
                write!(text, " | {:8}", column[index])?;
            }
            text.truncate(text.trim_end().len());
            writeln!(text)?;
        }
    }
    Ok(text)
}

#[tokio::test]
async fn retained_values_are_what_the_table_says() -> Result<()> {
    for series in Series::ALL {
        let found = table(series).await?;
        ensure!(found == STORIES, "{series:?}:\n{found}");
    }
    Ok(())
}

/// Per attempt to connect, and once more when it succeeds, all that is retained goes into the queue outwards: a break of an
/// hour leaves thousands of copies of each value in it.
#[tokio::test]
async fn every_attempt_to_connect_queues_all_that_is_retained() -> Result<()> {
    for series in Series::ALL {
        for lines in [
            "topic v/# both 1\nbridge_outgoing_retain false",
            "topic v/# out 1\nbridge_outgoing_retain true",
        ] {
            let mut pair = Pair::start(series, lines).await?;
            pair.act("v/0", "h=1").await?;
            wait_until("the value to cross", PATIENCE, async || pair.copies() == 1).await?;
            let before = pair.attempts();
            pair.part("cut").await?;
            wait_until("attempts", PATIENCE, async || pair.attempts() >= before + 5).await?;
            pair.join("cut").await?;
            let made = pair.attempts() - before;
            ensure!(
                pair.copies() > made,
                "{series:?} {lines}: {} copies of {made} attempts",
                pair.copies()
            );
        }
    }
    Ok(())
}
