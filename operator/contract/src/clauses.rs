//! The rows: what each promises by quality of service, and whether it is kept today.
//!
//! What is not kept yet says why and what holds instead; making it true means changing [`Kept`] here and nothing else.

use crate::event::Event;
use crate::promise::{Duplicates, Lost, Order, Promise};
use crate::survival::{Blow, survives};
use crate::terms::{Profile, Series, Terms};

/// A row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clause {
    /// What happens.
    pub event: Event,
    /// By quality of service, 0 to 2; `None` for what is no matter of it.
    pub promises: Option<[Promise; 3]>,
    /// Whether it is so today.
    pub kept: Kept,
    /// What is to be known of all its promises, as a sentence without a full stop; may be empty.
    pub says: &'static str,
    /// What it rests on.
    pub footnotes: &'static [Footnote],
}

impl Clause {
    /// The promise for a quality of service; above 2 as for 2.
    #[must_use]
    pub fn promise(&self, qos: u8) -> Option<&Promise> {
        self.promises
            .as_ref()
            .map(|by_qos| &by_qos[usize::from(qos.min(2))])
    }
}

/// Whether a row is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is.
    Since {
        /// From this release of Skein.
        release: &'static str,
    },
    /// It is what Skein is to do.
    NotYet {
        /// What is missing, as a sentence without a full stop.
        why: &'static str,
        /// What holds today, likewise.
        today: &'static str,
    },
}

impl Kept {
    /// Breaking it is a failure.
    #[must_use]
    pub fn is_kept(self) -> bool {
        matches!(self, Self::Since { .. })
    }
}

/// What several promises rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Footnote {
    /// Queues are finite.
    Budget,
    /// Acknowledged is not stored yet.
    LastMessage,
    /// A client that comes without its session.
    DurableSession,
    /// A client that is led elsewhere in the midst of an exchange.
    Exchanges,
    /// Something else is under way.
    OneAtATime,
}

impl Footnote {
    /// All, in the order of a document.
    pub const ALL: [Self; 5] = [
        Self::Budget,
        Self::LastMessage,
        Self::DurableSession,
        Self::Exchanges,
        Self::OneAtATime,
    ];

    /// As a sentence, without a full stop.
    #[must_use]
    pub fn says(self) -> &'static str {
        match self {
            Self::Budget => {
                "what waits is kept within the queue budget (`queue`); what comes when a queue is full is dropped, and its \
                 publisher is not told"
            }
            Self::LastMessage => {
                "an acknowledged message is not yet stored, with `flush_period 0` neither: a kill in the same pass of the \
                 broker's loop loses that last message, and nothing before it"
            }
            Self::DurableSession => {
                "a subscriber without a durable session misses what is published while it is not connected"
            }
            Self::Exchanges => {
                "a client with a session that is led elsewhere in the midst of a QoS 2 exchange may lose that message, and take a \
                 later one for it: no broker can take over an exchange from another; QoS 1 has none"
            }
            Self::OneAtATime => {
                "one thing at a time: if a second broker fails, or an edit comes, before the fleet is at rest from a first failure, \
                 what waits at a broker that is out may stay there"
            }
        }
    }
}

/// The release that kept the first rows.
const FIRST: Kept = Kept::Since { release: "0.1.0" };

const NOTHING_HAPPENS: Promise = Promise {
    lost: Lost::Nothing,
    duplicates: Duplicates::Never,
    order: Order::Kept,
    says: "nothing is lost, doubled or late",
};

const NOTHING_PROMISED: Promise = Promise {
    lost: Lost::NotPromised,
    duplicates: Duplicates::Possible,
    order: Order::NotPromised,
    says: "nothing is promised",
};

const fn promise(lost: Lost, duplicates: Duplicates, order: Order, says: &'static str) -> Promise {
    Promise {
        lost,
        duplicates,
        order,
        says,
    }
}

/// A message may come again, and out of order.
const fn at_least_once(lost: Lost, says: &'static str) -> Promise {
    promise(lost, Duplicates::Possible, Order::NotPromised, says)
}

/// A message may come late; nobody sends it again.
const fn at_most_once(lost: Lost, says: &'static str) -> Promise {
    promise(lost, Duplicates::Never, Order::NotPromised, says)
}

const fn row(
    event: Event,
    promises: [Promise; 3],
    kept: Kept,
    says: &'static str,
    footnotes: &'static [Footnote],
) -> Clause {
    Clause {
        event,
        promises: Some(promises),
        kept,
        says,
        footnotes,
    }
}

const fn statement(event: Event, kept: Kept, says: &'static str) -> Clause {
    Clause {
        event,
        promises: None,
        kept,
        says,
        footnotes: &[],
    }
}

/// All rows for brokers with these terms.
#[must_use]
pub fn contract(terms: Terms) -> Vec<Clause> {
    Event::ALL.iter().map(|event| clause(*event, terms)).collect()
}

/// The row of an event, for brokers with these terms.
#[must_use]
pub const fn clause(event: Event, terms: Terms) -> Clause {
    match event {
        Event::Controller => row(
            event,
            [NOTHING_HAPPENS; 3],
            FIRST,
            "brokers and links go on without it; whatever dies meanwhile is not replaced before it is back",
            &[],
        ),
        Event::Supervisor => row(
            event,
            [NOTHING_HAPPENS; 3],
            FIRST,
            "in local mode its broker goes on; in a pod the broker goes with it, as when its process crashes",
            &[],
        ),
        Event::Link => link(),
        Event::Away => away(),
        Event::Transit => transit(terms),
        Event::Route => route(terms),
        Event::Duplex => row(
            event,
            [NOTHING_PROMISED; 3],
            FIRST,
            "what is to be sent over a duplex link waits in the sending broker and not upstream; until it is shown to lose \
             nothing, nothing is promised. Filters that tell the two directions apart avoid such links",
            &[],
        ),
        Event::Drain => drain(terms),
        Event::Crash => crash(terms),
        Event::Hang => hang(terms),
        Event::Volume => volume(),
        Event::Disk => disk(terms),
        Event::Retained => statement(
            event,
            Kept::NotYet {
                why: "a store that cannot be read when its broker fails has to be read later, and nobody tells when a client clears a \
                      value in the very moment in which it is led home",
                today: "it holds where brokers keep a store and run on Skein's own machine, but for duplex links: values go \
                        with the clients that published them, and a broker that was out, or that no way leads through any more, \
                        forgets what links had brought it; who is subscribed there hears some values again",
            },
            "a producer's own value never goes back to an older one, a cleared value stays cleared, and a returning broker \
             is filled again before it serves",
        ),
        Event::Wills => statement(
            event,
            FIRST,
            match terms.series() {
                Series::V2_0 => {
                    "a restart publishes the wills of connected clients, and on 2.0 every change of a link is a restart; \
                     an MQTT 5.0 client avoids that with a will delay"
                }
                Series::V2_1 => {
                    "a restart publishes the wills of connected clients; an MQTT 5.0 client avoids that with a will delay"
                }
            },
        ),
    }
}

const fn away() -> Clause {
    let again = promise(
        Lost::Nothing,
        Duplicates::Possible,
        Order::FirstDeliveries,
        "what is published meanwhile waits in its session, and what it had not acknowledged comes again",
    );
    row(
        Event::Away,
        [
            promise(
                Lost::Bounded("what is on its way"),
                Duplicates::Possible,
                Order::FirstDeliveries,
                "what is published meanwhile waits in its session; what was on its way to a client that goes without a word is lost",
            ),
            again,
            again,
        ],
        FIRST,
        "",
        &[Footnote::Budget, Footnote::DurableSession],
    )
}

const fn link() -> Clause {
    let again = at_least_once(
        Lost::Nothing,
        "what could not pass waits upstream, and what was not acknowledged comes again",
    );
    row(
        Event::Link,
        [
            at_most_once(
                Lost::While("until it is noticed"),
                "what is sent into a link that is cut is lost until a broker notices, after up to 15 s of silence; from then on \
                 it waits upstream",
            ),
            again,
            again,
        ],
        FIRST,
        "",
        &[Footnote::Budget],
    )
}

/// What a crash takes of QoS 1 and 2.
const fn after_a_kill(terms: Terms) -> Promise {
    let left = survives(terms, Blow::Kill);
    at_least_once(left.lost, left.says)
}

const fn stored(terms: Terms) -> &'static [Footnote] {
    match terms.profile() {
        Profile::Durable => &[Footnote::Budget, Footnote::LastMessage],
        Profile::Classic => &[Footnote::Budget],
        Profile::None => &[],
    }
}

const fn transit(terms: Terms) -> Clause {
    let kill = after_a_kill(terms);
    row(
        Event::Transit,
        [
            match terms.profile() {
                Profile::None => at_most_once(Lost::EverythingHeld, kill.says),
                Profile::Durable | Profile::Classic => at_most_once(
                    Lost::Bounded("what is on its way"),
                    "what comes for it meanwhile waits upstream; what it held or was taking may be lost",
                ),
            },
            kill,
            kill,
        ],
        FIRST,
        match terms.profile() {
            Profile::None => "what waits for it upstream is not touched; what waits in it for others is gone",
            Profile::Durable | Profile::Classic => "what waits for it upstream is not touched",
        },
        stored(terms),
    )
}

const fn crash(terms: Terms) -> Clause {
    let kill = after_a_kill(terms);
    row(
        Event::Crash,
        [
            match terms.profile() {
                Profile::None => at_most_once(Lost::EverythingHeld, kill.says),
                Profile::Durable | Profile::Classic => at_most_once(
                    Lost::While("while it is down"),
                    "what is published to it while it is down, and what was on its way, is lost",
                ),
            },
            kill,
            kill,
        ],
        FIRST,
        "its supervisor starts it again at once; clients that connect meanwhile are held for up to a second",
        stored(terms),
    )
}

/// What MQTT has no way to hand over: packet identifiers belong to a client and one broker.
const EXCHANGES: Lost = Lost::Bounded("exchanges under way");

const fn route(terms: Terms) -> Clause {
    const BARRIER: Duplicates = Duplicates::Bounded("rate × barrier time");
    let moved = promise(
        Lost::Nothing,
        BARRIER,
        Order::FirstDeliveries,
        "nothing is lost and first deliveries stay in order; what is published while both ways are open may come twice",
    );
    let restarted = at_least_once(
        Lost::EverythingHeld,
        "a changed link takes a restart, in which the broker loses all that it held",
    );
    let promises = match (terms.series(), terms.profile()) {
        (Series::V2_1, _) => [
            promise(
                Lost::Bounded("what is on its way"),
                BARRIER,
                Order::FirstDeliveries,
                "a link whose lines change is connected anew, and what is on its way over it then is lost",
            ),
            moved,
            moved,
        ],
        (Series::V2_0, Profile::None) => [restarted; 3],
        (Series::V2_0, Profile::Durable | Profile::Classic) => [
            at_least_once(
                Lost::While("while it restarts"),
                "a changed link takes a restart; what is published to the broker meanwhile is lost",
            ),
            moved,
            promise(
                EXCHANGES,
                BARRIER,
                Order::FirstDeliveries,
                "a changed link takes a restart, in which the broker forgets what its links have half received",
            ),
        ],
    };
    row(
        Event::Route,
        promises,
        FIRST,
        "",
        &[Footnote::Budget, Footnote::OneAtATime],
    )
}

/// What becomes of QoS 2 where clients are led elsewhere and QoS 1 loses nothing.
const MOVED_EXCHANGES: Promise = at_least_once(
    EXCHANGES,
    "as with QoS 1, but for the exchanges that clients with sessions are in the midst of",
);

const fn drain(terms: Terms) -> Clause {
    let away = at_least_once(
        Lost::While("while they reconnect"),
        "what is published while clients reconnect is lost for them",
    );
    let unseen = at_least_once(
        Lost::EverythingHeld,
        "sessions that a broker keeps in no store are not seen: clients begin anew, and what waits for them is lost",
    );
    row(
        Event::Drain,
        match terms.profile() {
            Profile::None => [unseen; 3],
            Profile::Durable | Profile::Classic => [
                away,
                at_least_once(
                    Lost::Nothing,
                    "clients get what waits for them, and find sessions that collect, before they are led elsewhere",
                ),
                MOVED_EXCHANGES,
            ],
        },
        FIRST,
        "",
        match terms.profile() {
            Profile::None => &[Footnote::OneAtATime],
            Profile::Durable | Profile::Classic => &[
                Footnote::Budget,
                Footnote::DurableSession,
                Footnote::Exchanges,
                Footnote::OneAtATime,
            ],
        },
    )
}

const fn hang(terms: Terms) -> Clause {
    let gone = at_least_once(
        Lost::EverythingHeld,
        "what comes after the failure is passed on to the substitute, what the broker held is gone with its process",
    );
    let last = at_least_once(
        Lost::Bounded("its last moments"),
        "what comes after the failure is passed on to the substitute, what the broker had saved arrives when it returns, late",
    );
    let away = at_least_once(
        Lost::While("until retargeted"),
        "what is published to it is lost until its clients' address leads elsewhere",
    );
    let nothing = at_least_once(
        Lost::Nothing,
        "what comes after the failure is passed on to the substitute, what the broker held arrives when it returns, late",
    );
    row(
        Event::Hang,
        match terms.profile() {
            Profile::Durable => [away, nothing, MOVED_EXCHANGES],
            Profile::Classic => [away, last, last],
            Profile::None => [gone; 3],
        },
        FIRST,
        "clients with sessions find them at the substitute, which collect from before their address leads there, and go back once they \
         have got what waits there; where brokers ask nobody for a name, what comes after the failure waits for the broker's return",
        match terms.profile() {
            Profile::Durable => &[
                Footnote::Budget,
                Footnote::LastMessage,
                Footnote::Exchanges,
                Footnote::OneAtATime,
            ],
            Profile::Classic => &[Footnote::Budget, Footnote::Exchanges, Footnote::OneAtATime],
            Profile::None => &[Footnote::OneAtATime],
        },
    )
}

const fn volume() -> Clause {
    row(
        Event::Volume,
        [at_least_once(
            Lost::EverythingHeld,
            "what it had acknowledged and not passed on is lost; what comes after the failure is passed on to the substitute",
        ); 3],
        FIRST,
        "",
        &[Footnote::OneAtATime],
    )
}

const fn disk(terms: Terms) -> Clause {
    let lost = match terms.profile() {
        Profile::Durable => at_least_once(
            Lost::While("while it is full"),
            "what comes meanwhile is acknowledged and delivered, and never stored: what of it still waits is lost when the broker ends, \
             even if there is room by then",
        ),
        Profile::Classic => at_least_once(
            Lost::EverythingHeld,
            "what comes meanwhile is stored once there is room; a broker that ends before is back at what it last saved, or \
             loses all that it held, as what it saves on a full disk may be half a file",
        ),
        Profile::None => at_least_once(
            Lost::EverythingHeld,
            "it stores nothing, so a full disk takes nothing from it; what it holds is gone when it ends",
        ),
    };
    row(
        Event::Disk,
        [lost; 3],
        FIRST,
        match terms.profile() {
            Profile::Durable => {
                "it does not start while its disk is full; Skein's status says when little room is left"
            }
            Profile::Classic => {
                "with half a file a broker of 2.0 does not start until a person moves the file away; Skein's status says that, \
                 and before, when little room is left"
            }
            Profile::None => "",
        },
        &[],
    )
}
