//! Directives, executed.

use skein_adapter::users::{Left, Users};
use skein_adapter::values::{self, Keeper, ValuesError};
use skein_adapter::{Conductor, Ground, links};
use skein_agent::Configuration;
use skein_api::name::BrokerName;
use skein_engine::directive::Directive;
use skein_engine::sessions::ClientSession;
use tokio::time::Instant;

use super::given::{Note, Unkept};
use super::place::Heard;
use super::{Fleet, SHOW};
use crate::names;
use crate::pods::PodValues;
use crate::writer::Key;

impl Ground for Fleet {
    type Refusal = Unkept;

    fn conductor(&self) -> &Conductor {
        &self.conductor
    }

    fn conductor_mut(&mut self) -> &mut Conductor {
        &mut self.conductor
    }

    fn users(&self) -> &Users {
        &self.users
    }

    fn session(&self, broker: &BrokerName, client_id: &str) -> Option<&ClientSession> {
        self.pods.session(broker, client_id)
    }

    fn carry_out(&mut self, directive: &Directive) -> Result<(), Unkept> {
        match directive {
            Directive::GiveConfig {
                broker,
                epoch,
                config,
                links,
            } => {
                let configuration = Configuration {
                    epoch: *epoch,
                    config: config.clone(),
                    links: links::to_json(links.iter().map(AsRef::as_ref))?,
                };
                let loaded = self.loaded(broker);
                let given = self.given.entry(broker.clone()).or_default();
                given.give(configuration, loaded)?;
                self.write_given(broker);
            }
            Directive::Bar { broker, downstreams } => {
                let given = self.given.entry(broker.clone()).or_default();
                let note = Note(given.into());
                // It is noted in memory, which does not fail.
                let _ = self.users.bar(broker, downstreams, &note);
                self.write_given(broker);
                self.look_after_users();
            }
            Directive::PointAddress { broker, to } => {
                let before = self.serving.get(broker).unwrap_or(broker).clone();
                self.hold_markers(&before, to);
                if broker == to {
                    self.serving.remove(broker);
                } else {
                    self.serving.insert(broker.clone(), to.clone());
                }
                self.point(broker);
            }
            Directive::RecordSessions(sessions) => {
                self.sessions.clone_from(sessions);
                self.write_fleet();
            }
            Directive::RecordMigration(migration) => {
                let now = jiff::Timestamp::now().to_string();
                let before = self.migrations.phase(&migration.name);
                if before != Some(migration.phase) {
                    self.announce(migration);
                }
                self.migrations.record(migration.clone(), &now);
                self.write_migration(migration);
                self.forget_migrations(&migration.broker);
            }
            Directive::Retire { broker } => {
                self.conductor.placed.remove(broker);
                self.users.forget(broker);
                self.given.remove(broker);
                self.serving.remove(broker);
                self.release(broker);
                self.watch_brokers();
                let heard = self.hear_pods();
                self.observe_all(heard);
            }
            Directive::ReadSessions { broker, serial } => self.pods.read(broker, *serial),
            Directive::ForgetValues { .. } | Directive::CopyValues { .. } => {
                values::mind(directive, &self.conductor.envoys, |broker| self.keeper(broker));
            }
            // The others go over MQTT.
            _ => {}
        }
        Ok(())
    }

    fn may_go(&self, directive: &Directive) -> bool {
        let is_recorded = || !self.writer.is_pending(&Key::of("Secret", names::FLEET));
        !matches!(directive, Directive::Seed { .. }) || is_recorded()
    }

    fn keep_classes(&mut self) {
        self.write_fleet();
    }

    fn gather(&mut self) {
        let due = self.rests.max(Instant::now() + SHOW);
        self.show_due.get_or_insert(due);
    }

    fn missed(&mut self, broker: BrokerName, refused: bool, _: &str) {
        self.tell_of_miss(broker, refused);
    }
}

impl Fleet {
    /// A broker with who reads its store, if both are reached.
    fn keeper(&self, broker: &BrokerName) -> Result<Keeper<PodValues>, ValuesError> {
        let unknown = || ValuesError::Unknown(broker.clone());
        Ok(Keeper {
            broker: broker.clone(),
            reader: self.pods.values(broker).ok_or_else(unknown)?,
            access: self.access(broker).ok_or_else(unknown)?,
        })
    }

    /// Sees to it that processes know their users, where it is noted what they are to be started with.
    pub(super) fn look_after_users(&mut self) {
        let (conductor, writer, heard) = (&self.conductor, &self.writer, &self.heard);
        let left = |broker: &BrokerName| {
            let runs = heard.get(broker).is_some_and(Heard::runs);
            let is_noted = writer.is_written(&Key::of("Secret", &names::own(broker)));
            if runs && is_noted { Left::Ask } else { Left::Unseen }
        };
        let troubles = self.users.look_after(
            left,
            |broker| conductor.peer(broker),
            &self.instance,
            conductor.envoys.way_back(),
        );
        for (broker, trouble) in troubles {
            self.conductor.trouble(format!("users/{broker}"), trouble);
        }
    }
}
