//! Directives about retained values: which brokers and stores they mean here.

use std::sync::Arc;

use skein_api::name::BrokerName;
use skein_engine::directive::Directive;

use super::runner::Runner;
use crate::happening::UpEvent;
use crate::values::{Keeper, Kept, Move, ValuesError};

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
                self.envoys
                    .forget_values(broker, self.keeper(broker), kept, *serial);
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
                self.envoys.bring_values(home, moved, *serial);
            }
            _ => {}
        }
    }

    /// A broker with its store, if both are known.
    fn keeper(&self, broker: &BrokerName) -> Result<Keeper, ValuesError> {
        let unknown = || ValuesError::Unknown(broker.clone());
        let placement = self.placed.get(broker).ok_or_else(unknown)?;
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
