//! Directives about retained values: which brokers and stores they mean here.

use std::sync::Arc;

use skein_adapter::Ground as _;
use skein_api::name::BrokerName;
use skein_engine::directive::Directive;
use skein_engine::event::Event;

use super::runner::Runner;
use crate::happening::UpEvent;
use crate::values::{Keeper, Kept, Move, ValuesError, bring, forget};

impl<F: FnMut(UpEvent)> Runner<F> {
    /// Begins what such a directive asks for; nothing, if it is another one.
    pub(super) fn mind_values(&self, directive: &Directive) {
        match directive {
            Directive::ForgetValues {
                broker,
                carried,
                published,
                serial,
            } => {
                let kept = Kept {
                    carried: carried.clone(),
                    published: published.clone(),
                };
                let (keeper, broker, serial) = (self.keeper(broker), broker.clone(), *serial);
                self.conductor.envoys.beside(async move {
                    let forgotten = match keeper {
                        Ok(keeper) => forget(keeper, kept, format!("{broker}-{serial}")).await,
                        Err(error) => Err(error),
                    };
                    let error = forgotten.err().map(|error| error.to_string());
                    Event::ValuesForgotten {
                        broker,
                        serial,
                        error,
                    }
                });
            }
            Directive::CopyValues {
                home,
                from,
                to,
                copying,
                serial,
            } => {
                let keepers = || Ok((self.keeper(home)?, self.keeper(from)?, self.keeper(to)?));
                let moved = keepers().map(|(home, from, to)| Move {
                    home,
                    from,
                    to,
                    copying: Arc::clone(copying),
                });
                let (home, serial) = (home.clone(), *serial);
                self.conductor.envoys.beside(async move {
                    let brought = match moved {
                        Ok(moved) => bring(moved, format!("{home}-{serial}")).await,
                        Err(error) => Err(error),
                    };
                    let error = brought.err().map(|error| error.to_string());
                    Event::ValuesCopied { home, serial, error }
                });
            }
            _ => {}
        }
    }

    /// A broker with its store, if both are known.
    fn keeper(&self, broker: &BrokerName) -> Result<Keeper, ValuesError> {
        let unknown = || ValuesError::Unknown(broker.clone());
        let placement = self.conductor.placed.get(broker).ok_or_else(unknown)?;
        // Of a broker that somebody else runs there is none to be seen.
        if placement.data_directory.is_empty() {
            return Err(unknown());
        }
        Ok(Keeper {
            broker: broker.clone(),
            directory: placement.data_directory.clone().into(),
            access: self.access(broker).ok_or_else(unknown)?,
        })
    }
}
