//! The loss contract as data: what happens, and what of the acknowledged messages may be lost, doubled or reordered by it.
//!
//! The one source for what `skein explain` shows, for tables in documents, and for whoever judges deliveries. Knows
//! promises and what each rests on; knows no fleets, no brokers and no messages. Each promise holds for what a broker
//! acknowledged and within the declared queue budget ([`Footnote::Budget`]).
//!
//! ```
//! use skein_contract::{Event, Profile, Series, Terms, clause};
//!
//! let kill = clause(Event::Crash, Terms::new(Profile::Durable, Series::V2_1));
//! assert!(kill.kept.is_kept() && kill.promise(1).is_some_and(|promise| promise.loses_nothing()));
//! ```

mod clauses;
mod event;
mod page;
mod promise;
mod survival;
mod terms;
#[cfg(test)]
mod tests;

pub use clauses::{Clause, Footnote, Kept, clause, contract};
pub use event::Event;
pub use page::page;
pub use promise::{Duplicates, Lost, Order, Promise};
pub use survival::{Blow, Survival, survives};
pub use terms::{Profile, Series, Terms};
