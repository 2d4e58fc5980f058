//! The loss contract as data: what may happen to messages that were acknowledged, by what happened to the fleet.
//!
//! Each row says whether it is kept today. A row that is not kept is counted and not judged; making the engine keep it
//! means setting `kept` here.

/// What happened, as the contract's rows tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// The controller dies, stalls or is late.
    Controller,
    /// A supervisor dies; its broker goes on.
    Supervisor,
    /// A link is cut and heals, or is slow.
    Link,
    /// A client with a durable session is away.
    Away,
    /// A process crashes and restarts in place; the durable profile.
    CrashDurable,
    /// The same; the classic profile.
    CrashClassic,
    /// The controller changes routes, because of an edit.
    Route,
    /// The same, and a broker of 2.0 is restarted for it.
    RouteByRestart,
    /// The same, and a duplex link takes part in any of it.
    Duplex,
    /// A person drains a broker, and undrains it.
    Drain,
    /// A broker is moved away from: it hung, or its machine was gone.
    Migration,
    /// The same, and its clients subscribe.
    MovedSubscriber,
    /// The same, and its clients publish with QoS 2: see [`Rule::IdentifiersStayApart`].
    MovedExchange,
    /// The same, and there is no other way from the producer to the consumer: the plan says so beforehand.
    Interrupted,
    /// A broker and its volume are gone for good.
    Volume,
}

/// What a row promises for one quality of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Nothing that was acknowledged is lost.
    pub none_lost: bool,
    /// Nothing arrives twice.
    pub none_twice: bool,
    /// First deliveries of one producer arrive in the order in which they were published.
    pub in_order: bool,
}

const NOTHING_HAPPENS: Promise = Promise {
    none_lost: true,
    none_twice: true,
    in_order: true,
};
const NONE_LOST: Promise = Promise {
    none_lost: true,
    none_twice: false,
    in_order: false,
};
const NONE_LOST_IN_ORDER: Promise = Promise {
    none_lost: true,
    none_twice: false,
    in_order: true,
};
const NOTHING: Promise = Promise {
    none_lost: false,
    none_twice: false,
    in_order: false,
};

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Clause {
    /// What happens.
    pub row: Row,
    /// By quality of service.
    pub promises: [Promise; 3],
    /// The engine keeps it today: breaking it is a failure.
    pub kept: bool,
}

/// The contract.
pub const CONTRACT: [Clause; 15] = [
    Clause {
        row: Row::Controller,
        promises: [NOTHING_HAPPENS; 3],
        kept: true,
    },
    Clause {
        row: Row::Supervisor,
        promises: [NOTHING_HAPPENS; 3],
        kept: true,
    },
    Clause {
        row: Row::Link,
        promises: [NOTHING, NONE_LOST, NONE_LOST],
        kept: true,
    },
    Clause {
        row: Row::Away,
        promises: [NONE_LOST_IN_ORDER; 3],
        kept: true,
    },
    Clause {
        row: Row::CrashDurable,
        promises: [NOTHING, NONE_LOST, NONE_LOST],
        kept: true,
    },
    Clause {
        row: Row::CrashClassic,
        promises: [NOTHING; 3],
        kept: true,
    },
    Clause {
        row: Row::Route,
        promises: [NONE_LOST_IN_ORDER; 3],
        kept: true,
    },
    Clause {
        row: Row::RouteByRestart,
        // A broker of 2.0 forgets what its bridges had received with QoS 2 and not released: if the other end has noted
        // the receipt already, it sends no copy.
        promises: [NOTHING, NONE_LOST_IN_ORDER, NOTHING],
        kept: true,
    },
    Clause {
        row: Row::Duplex,
        promises: [NOTHING; 3],
        kept: true,
    },
    Clause {
        row: Row::Drain,
        promises: [NOTHING, NONE_LOST, NONE_LOST],
        kept: true,
    },
    Clause {
        row: Row::Migration,
        promises: [NOTHING, NONE_LOST, NONE_LOST],
        kept: true,
    },
    Clause {
        row: Row::MovedSubscriber,
        promises: [NOTHING, NONE_LOST, NONE_LOST],
        kept: true,
    },
    Clause {
        row: Row::MovedExchange,
        promises: [NOTHING, NONE_LOST, NONE_LOST],
        kept: true,
    },
    Clause {
        row: Row::Interrupted,
        promises: [NOTHING; 3],
        kept: true,
    },
    Clause {
        row: Row::Volume,
        promises: [NOTHING; 3],
        kept: true,
    },
];

/// What holds when all of these happened: the least of their promises. `kept` leaves out rows that are not kept today,
/// by promising nothing for them.
#[must_use]
pub(crate) fn promised(rows: impl IntoIterator<Item = Row>, qos: u8, kept: bool) -> Promise {
    let mut least = NOTHING_HAPPENS;
    for row in rows {
        let Some(clause) = CONTRACT.iter().find(|clause| clause.row == row) else {
            continue;
        };
        let promise = if kept && !clause.kept {
            NOTHING
        } else {
            clause.promises[usize::from(qos.min(2))]
        };
        least = Promise {
            none_lost: least.none_lost && promise.none_lost,
            none_twice: least.none_twice && promise.none_twice,
            in_order: least.in_order && promise.in_order,
        };
    }
    least
}

/// What must hold whatever happens, and what the engine is known not to keep yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The engine never asks to be woken at once again and again.
    NeverSpins,
    /// What was ended upstream stays ended although the upstream's classic store forgets its last moment in a crash.
    EndedStaysEnded,
    /// A configuration that a supervisor refused and loads later after all (another life of it tries again) is known with
    /// the sessions that it makes upstream.
    RefusedMayBeLoaded,
    /// What links left at a broker that is removed is ended once the broker is declared again, with the store that it had.
    RemovedMayComeBack,
    /// A QoS 2 client that is led to another broker, where it has a session too, takes no message for another: it goes on
    /// with packet identifiers of the session that it left, and takes a new message for one that it had (and completes
    /// one that the broker never had). Nobody but the client could know better.
    IdentifiersStayApart,
    /// An edit that comes as a broker fails takes nothing with it that waits there for links that are not wanted any more.
    FailedAreDrained,
    /// A value that a client clears in the moment in which it is led home stays cleared.
    ClearedInPassing,
    /// What is published while two brokers are out at a time gets to clients of theirs that are led elsewhere: what links
    /// were to fetch, or had left, gets away although other links are wanted before it has.
    WayBackIsDrained,
}

/// Rules that are broken today, each for a reason that is understood: they are counted and not judged.
pub const NOT_KEPT: [Rule; 5] = [
    // The session of a refused configuration counts as left, is ended, and is not remembered when it is loaded.
    Rule::RefusedMayBeLoaded,
    // Sessions are handed over without the exchanges that are under way: no broker tells of them, or takes them.
    Rule::IdentifiersStayApart,
    // It is passed on to who stands there now, but nobody knows who stood behind a link of an earlier plan.
    Rule::FailedAreDrained,
    // What goes with the client is read before it goes, and what it clears after that leaves no trace: one schedule in 20,000.
    Rule::ClearedInPassing,
    // Nobody knows who stood behind a link of an earlier plan: 5 in 30,000 schedules lose something.
    Rule::WayBackIsDrained,
];

impl Rule {
    /// Breaking it is a failure.
    #[must_use]
    pub fn is_kept(self) -> bool {
        !NOT_KEPT.contains(&self)
    }
}
