//! Passwords that follow from one secret, and the hashes that a broker knows them by.
//!
//! Pure computation: who asks brings all that goes in, so that equal questions have equal answers.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Sha256, Sha512};
use skein_api::name::BrokerName;

use super::{ADMINISTRATOR, bridge_user};

/// Bytes of a salt: 2.0 takes exactly so many.
pub const SALT_BYTES: usize = 12;

/// Rounds of PBKDF2, as Mosquitto itself makes. One would do: what is hashed is no word that could be guessed.
const ITERATIONS: u32 = 101;

const SECRET_BYTES: usize = 32;
const HASH_BYTES: usize = 64;

/// What HMAC-SHA256 hashes at a time: a shorter key counts as if it were followed by zeros.
const BLOCK_BYTES: usize = 64;

/// The secret of a fleet, which all passwords between its brokers and Skein follow from.
///
/// A password is the base64url form of HMAC-SHA256 under the secret of what it is for: `skein/v1/bridge`, downstream and
/// upstream, or `skein/v1/administrator` or `skein/v1/pod` and the broker, with a zero byte between. So both ends of a link are given the same
/// password by whoever has the secret, without asking each other, and a restart of anything changes none.
///
/// # Threat model
///
/// - *Somebody on the network* who knows names, topics and client ids but not the secret cannot log in as Skein or as a
///   bridge: a password has 256 bits, and trying is all that can be done. What anonymous clients may do is another matter
///   ([`super::Security::anonymous`]): a client id is no secret, and a broker lets anybody it admits take over a session by its client id,
///   another user's too.
/// - *Who reads a broker's files or memory* has the passwords of the links that this broker holds, in clear text in
///   `mosquitto.conf`, and hears the passwords of those who connect to it. With the first it can be this broker towards its
///   upstreams, which it is anyhow; the second are good for this broker only. No password tells anything of another, and the
///   secret is not among a broker's files: it belongs where configurations are compiled. The plugin's file has hashes only.
/// - *Who has the secret* is everybody, at each broker, `skein` included. It must be readable by Skein alone, and be no part of
///   any output. `Debug` of it, and of passwords, shows nothing.
/// - *Who reads the wire* without TLS has the password with the first CONNECT. Without TLS, the network between brokers must
///   be one that you trust.
/// - *Another secret* changes every password. Bridges are refused from when their upstream has the new file until their own
///   broker has the new configuration, and what is for them waits in their sessions.
#[derive(Clone, PartialEq, Eq)]
pub struct FleetSecret([u8; SECRET_BYTES]);

/// A text that is no secret. Does not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a fleet's secret: expected 43 characters of base64url, which stand for 32 bytes")]
pub struct SecretError;

impl FleetSecret {
    /// One made of bytes of a good source of randomness.
    #[must_use]
    pub const fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// The one that [`Self::to_text`] wrote; white space around it is no matter.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim()).map_err(|_| SecretError)?;
        bytes.try_into().map(Self).map_err(|_| SecretError)
    }

    /// For a file that only Skein may read.
    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// How Skein logs in to a broker.
    #[must_use]
    pub fn administrator(&self, broker: &BrokerName) -> Login {
        Login {
            user: ADMINISTRATOR.to_owned(),
            password: self.password(&["skein/v1/administrator", broker.as_str()]),
        }
    }

    /// How the bridges of `downstream` log in to `upstream`.
    #[must_use]
    pub fn bridge(&self, downstream: &BrokerName, upstream: &BrokerName) -> Login {
        Login {
            user: bridge_user(downstream),
            password: self.password(&["skein/v1/bridge", downstream.as_str(), upstream.as_str()]),
        }
    }

    /// What shows the pod of a broker that it is Skein who asks it: for the pod too, and no user of the broker's.
    #[must_use]
    pub fn token(&self, broker: &BrokerName) -> Password {
        self.password(&["skein/v1/pod", broker.as_str()])
    }

    /// The salt of a user at a broker: differs between any two, and is no secret.
    pub(super) fn salt(&self, broker: &BrokerName, user: &str) -> [u8; SALT_BYTES] {
        let code = self.code(&["skein/v1/salt", broker.as_str(), user]);
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(&code[..SALT_BYTES]);
        salt
    }

    fn password(&self, purpose: &[&str]) -> Password {
        Password(URL_SAFE_NO_PAD.encode(self.code(purpose)))
    }

    fn code(&self, purpose: &[&str]) -> [u8; 32] {
        let mut key = [0; BLOCK_BYTES];
        key[..SECRET_BYTES].copy_from_slice(&self.0);
        let mut code = Hmac::<Sha256>::new(&key.into());
        // No part has a zero byte in it.
        code.update(purpose.join("\0").as_bytes());
        code.finalize().into_bytes().into()
    }
}

impl fmt::Debug for FleetSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FleetSecret(…)")
    }
}

/// A user name and its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: String,
    /// Its password.
    pub password: Password,
}

/// A password in clear text.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// One that is given. Empty ones, and those that a line of Mosquitto's configuration cannot hold, are none.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        crate::config::words::is_value(text).then(|| Self(text.to_owned()))
    }

    /// For the one that it is sent to, and for its configuration.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What a broker knows a password by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordHash {
    /// PBKDF2 with HMAC-SHA512, which every version reads.
    Pbkdf2 {
        /// What was mixed in.
        salt: [u8; SALT_BYTES],
        /// How many rounds.
        iterations: u32,
        /// The outcome.
        hash: [u8; HASH_BYTES],
    },
    /// A form that 2.1 made of a password it was given while it ran (`$7$1000$…` with a longer salt), and that 2.0 cannot
    /// read.
    Encoded(String),
}

impl PasswordHash {
    /// The hash of a password, as Mosquitto makes it.
    #[must_use]
    pub fn of(password: &Password, salt: [u8; SALT_BYTES]) -> Self {
        let mut hash = [0; HASH_BYTES];
        pbkdf2::pbkdf2_hmac::<Sha512>(password.0.as_bytes(), &salt, ITERATIONS, &mut hash);
        Self::Pbkdf2 {
            salt,
            iterations: ITERATIONS,
            hash,
        }
    }

    /// From the three fields that 2.0 writes.
    pub(super) fn from_fields(salt: &str, iterations: u32, hash: &str) -> Option<Self> {
        Some(Self::Pbkdf2 {
            salt: STANDARD.decode(salt).ok()?.try_into().ok()?,
            iterations,
            hash: STANDARD.decode(hash).ok()?.try_into().ok()?,
        })
    }

    /// From the one field that 2.1 writes: `$7$ROUNDS$SALT$HASH`, or something of its own.
    pub(super) fn from_encoded(text: &str) -> Self {
        let fields = || {
            let mut parts = text.strip_prefix("$7$")?.split('$');
            let (iterations, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
            if parts.next().is_some() {
                return None;
            }
            Self::from_fields(salt, iterations.parse().ok()?, hash)
        };
        fields().unwrap_or_else(|| Self::Encoded(text.to_owned()))
    }
}

/// The forms that bytes have in the plugin's file.
pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
