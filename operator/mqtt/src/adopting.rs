//! Passes on what waits in a session whose client does not come, by standing in for that client: a message is acknowledged
//! where it waited once everybody has taken it who is to have it. What is between the two sides is `passage`'s.

mod passage;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use rumqttc::mqttbytes::v4::{Packet, Publish};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep_until};

use self::passage::{Heard, Passage};
use crate::Address;
use crate::dialect::{Dialect, quality};
use crate::rumqtt::RumqttSession;
use crate::session::{Incoming, Options, Session, SessionError};
use crate::stand_in::{KEEP_ALIVE, PATIENCE, Role, StandIn};

/// Markers: `$skein/adopted/<client id>`.
const MARKER_TOPIC: &str = "$skein/adopted/";

/// A marker that is not back after so long a silence is published again: a full queue took it from us.
const MARKER_PATIENCE: Duration = Duration::from_millis(500);

/// Between two pings: a source may have much to say to which there is no answer.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// A session in which messages wait for a client that does not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptedSession {
    /// Where the session is.
    pub address: Address,
    /// User name and password, if the broker asks for them.
    pub credentials: Option<(String, String)>,
    /// The client id. A live client that has it is kicked.
    pub client_id: String,
    /// What it may be subscribed to: that is ended first.
    pub unwanted: Vec<String>,
    /// Where what waits is published, each message at all of them; never empty.
    pub to: Vec<Target>,
}

/// Where messages go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where the broker is.
    pub address: Address,
    /// User name and password, if it asks for them.
    pub credentials: Option<(String, String)>,
}

/// Publishes what waits in it at every target, with its topic, payload and quality and never retained, and tells how many
/// messages those were. When this returns, nothing waits that was in the session before, and the session is still there; one
/// that was not there is not made.
///
/// Messages at QoS 1 and 2 are passed on at least once: each is acknowledged when all targets have taken it, so after an
/// error the session has the rest, and to adopt it again is right. Of what is passed on again then, a target may have had up
/// to a thousand messages. At QoS 0 nobody acknowledges, and what is on its way when something fails is lost; so is what a
/// target acknowledged that is killed before it has saved it, which Mosquitto does with the last message at QoS 1.
///
/// The release of a message at QoS 2 that came to the client before, and not here, stays unanswered: the client has that
/// message, and hears of its release when it comes back.
///
/// Its subscriptions are ended on the same connection and not before: whoever ends them takes what waits at QoS 0, which
/// nobody acknowledges.
///
/// # Errors
/// If the source or a target cannot be reached, ends the connection, or rejects what is asked for, or if nothing moves for
/// 5 s.
pub async fn adopt(session: &AdoptedSession) -> Result<u64, SessionError> {
    let marker = format!("{MARKER_TOPIC}{}", session.client_id);
    if session.to.is_empty() {
        return Err(SessionError::Invalid("no target".to_owned()));
    }
    if !rumqttc::valid_topic(&marker) {
        return Err(SessionError::Invalid(format!("topic {marker:?}")));
    }
    let mut targets = Targets::connect(session).await?;
    let role = Role {
        address: &session.address,
        credentials: session.credentials.as_ref(),
        client_id: &session.client_id,
    };
    let connect = |clean| StandIn::connect(role, Dialect::V3_1_1, clean);
    let mut source = connect(false).await?;
    if !source.resumed {
        // There was none, and connecting made one.
        source.leave().await?;
        connect(true).await?.leave().await?;
        targets.leave().await;
        return Ok(0);
    }
    // An earlier attempt may have left markers, which come before the end of what waits.
    let token = RandomState::new().hash_one(&marker).to_string();
    let mut passage = Passage::new(marker, token, &session.unwanted, session.to.len());
    match pass(&mut source, &mut targets, &mut passage).await {
        Ok(()) => {
            source.leave().await?;
            targets.leave().await;
            Ok(passage.passed())
        }
        Err(Failure::Source(error)) => Err(error),
        Err(Failure::Target(error)) => {
            // What is acknowledged does not come again; if this fails, it does.
            let _ = source.leave_early().await;
            Err(error)
        }
    }
}

/// Who ended it.
enum Failure {
    Source(SessionError),
    Target(SessionError),
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        Self::Source(error)
    }
}

async fn pass(source: &mut StandIn, targets: &mut Targets, passage: &mut Passage) -> Result<(), Failure> {
    let mut moved = Instant::now();
    let mut marked = moved;
    let mut pings = interval_at(moved + PING_INTERVAL, PING_INTERVAL);
    loop {
        source.say(&passage.take_answers()).await?;
        if passage.is_over() {
            return Ok(());
        }
        tokio::select! {
            packet = source.packet(), if passage.has_room() => {
                let mut next = Some(packet?);
                while let Some(packet) = next {
                    match passage.hear(packet)? {
                        Heard::Nothing => {}
                        Heard::Moved => moved = Instant::now(),
                        Heard::Message(number, message) => {
                            moved = Instant::now();
                            targets.give(number, &message);
                        }
                    }
                    next = if passage.has_room() { source.packet_at_hand()? } else { None };
                }
            }
            number = targets.next() => {
                moved = Instant::now();
                let mut next = Some(number.map_err(Failure::Target)?);
                while let Some(number) = next {
                    passage.taken(number);
                    next = targets.at_hand();
                }
            }
            _ = pings.tick() => source.say(&[Packet::PingReq]).await?,
            () = sleep_until(moved.max(marked) + MARKER_PATIENCE), if passage.misses_marker() => {
                marked = Instant::now();
                passage.mark();
            }
            () = sleep_until(moved + PATIENCE) => {
                return Err(SessionError::TimedOut(PATIENCE).into());
            }
        }
    }
}

/// The targets' connections. Each is carried on by a task of its own, which ends with this.
struct Targets {
    wanted: Vec<UnboundedSender<(u64, Publish)>>,
    taken: UnboundedReceiver<u64>,
    tasks: JoinSet<Result<(), SessionError>>,
}

impl Targets {
    async fn connect(session: &AdoptedSession) -> Result<Self, SessionError> {
        let (tell, taken) = mpsc::unbounded_channel();
        let mut targets = Self {
            wanted: Vec::new(),
            taken,
            tasks: JoinSet::new(),
        };
        for (index, target) in session.to.iter().enumerate() {
            // Two sessions that are adopted at once, or one to two listeners of a broker, must not kick each other.
            let client_id = format!("skein:adopts:{index}:{}", session.client_id);
            let mut options = Options::new(target.address.clone(), client_id);
            options.credentials.clone_from(&target.credentials);
            options.keep_alive = Duration::from_secs(KEEP_ALIVE.into());
            let connection = RumqttSession::connect(options).await?;
            let (want, wanted) = mpsc::unbounded_channel();
            targets.wanted.push(want);
            targets.tasks.spawn(carry(connection, wanted, tell.clone()));
        }
        Ok(targets)
    }

    /// Starts to publish it at all of them.
    fn give(&self, number: u64, message: &Publish) {
        for want in &self.wanted {
            // A task that is over tells why by its result.
            let _ = want.send((number, message.clone()));
        }
    }

    /// What one of them has taken next. Dropping the future loses nothing.
    async fn next(&mut self) -> Result<u64, SessionError> {
        tokio::select! {
            biased;
            Some(number) = self.taken.recv() => Ok(number),
            Some(ended) = self.tasks.join_next() => Err(match ended {
                Ok(Err(error)) => error,
                Ok(Ok(())) => SessionError::Closed("a target was left too early".to_owned()),
                Err(error) => SessionError::Closed(error.to_string()),
            }),
            else => Err(SessionError::Closed("all targets are left".to_owned())),
        }
    }

    /// The same without waiting.
    fn at_hand(&mut self) -> Option<u64> {
        self.taken.try_recv().ok()
    }

    /// Leaves them with a word. They have all that they were to have, so nothing depends on how that goes.
    async fn leave(mut self) {
        self.wanted.clear();
        let left = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(PATIENCE, left).await;
    }
}

/// Publishes what is wanted at a target until no more is, and leaves it.
///
/// While something is under way only [`Session::next`] is awaited, and to its end: what else is wanted meanwhile is begun with
/// the next acknowledgement. `rumqttc` forgets a packet if it is interrupted while the network takes nothing.
async fn carry<S: Session>(
    mut session: S,
    mut wanted: UnboundedReceiver<(u64, Publish)>,
    taken: UnboundedSender<u64>,
) -> Result<(), SessionError> {
    let mut under_way = HashMap::new();
    loop {
        let mut next = if under_way.is_empty() {
            let Some(first) = wanted.recv().await else { break };
            Some(first)
        } else {
            wanted.try_recv().ok()
        };
        while let Some((number, message)) = next {
            let payload = message.payload.to_vec();
            let ticket = session.start_publish(&message.topic, quality(message.qos), false, payload)?;
            under_way.insert(ticket, number);
            next = wanted.try_recv().ok();
        }
        if let Incoming::Published(ticket) = session.next().await?
            && let Some(number) = under_way.remove(&ticket)
        {
            // Nobody listens any more when the adoption is over.
            let _ = taken.send(number);
        }
    }
    session.disconnect().await
}
