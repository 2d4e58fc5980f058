//! Puts users into a compiled configuration: the plugin that knows them, and who each connection is upstream.

use std::sync::Arc;

use skein_api::name::BrokerName;

use super::compile::Problem;
use super::links::identity_of;
use super::{Config, SecurityPlugin, words};
use crate::security::Login;

impl Config {
    /// Has the dynamic-security plugin decide who may do what, and each connection log in upstream as `login` says, which
    /// may know of no login where the upstream asks for none. Fails, and changes nothing, if a path cannot be written.
    ///
    /// It goes with `per_listener_settings false`, which is Mosquitto's default and not the user's to change: else the
    /// plugin would be one listener's.
    pub fn secure(
        &mut self,
        plugin: SecurityPlugin,
        login: impl Fn(&BrokerName) -> Option<Login>,
    ) -> Result<(), Problem> {
        for path in [&plugin.plugin, &plugin.file] {
            if !words::is_path(path) {
                return Err(Problem {
                    object: format!("Broker/{}", self.broker),
                    field: "security plugin or its file".to_owned(),
                    reason: format!(
                        "{path:?} is not an absolute path that Mosquitto's configuration can name"
                    ),
                    remedy: "use one without control characters and without a space at its end".to_owned(),
                });
            }
        }
        self.security = Some(plugin);
        for held in &mut self.connections {
            let held = Arc::make_mut(held);
            held.login = identity_of(&held.remote_client_id).and_then(|(_, upstream, ..)| login(&upstream));
        }
        Ok(())
    }
}
