//! The options of Mosquitto, and whose each is.

use crate::version::Version;

/// An option.
pub(super) struct Entry {
    /// Its name.
    pub(super) key: &'static str,
    /// Whose it is.
    pub(super) rule: Rule,
}

/// Whose an option is.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// The user's: passed through.
    Free {
        /// What it takes.
        kind: Kind,
        /// The first version that has it, if not all have.
        since: Option<Version>,
        /// A changed value takes effect at SIGHUP.
        reloads: bool,
    },
    /// Skein's, or of no use in a file that Skein writes.
    Ours(Why),
}

/// What an option takes.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// `true` or `false`.
    Switch,
    /// A number in a range.
    Number(u32, u32),
    /// Some of these words, space separated.
    Words(&'static [&'static str]),
    /// The rest of the line.
    Text,
    /// The start of client ids.
    Prefix,
}

/// Why an option is not passed through.
#[derive(Clone, Copy)]
pub(super) enum Why {
    Queue,
    Inflight,
    Size,
    Quality,
    Persistence,
    Duplicates,
    Expiry,
    Retained,
    ClientIds,
    Clients,
    Memory,
    Include,
    Listener,
    Tls,
    Bridge,
    Plugin,
    Users,
    Anonymous,
    PerListener,
    PidFile,
    SystemUser,
    Log,
    Gone,
}

impl Why {
    /// Why, as a sentence without its dot.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Queue => {
                "Skein sets it: what waits while a link is down must be within the declared budget"
            }
            Self::Inflight => {
                "Skein sets it to the most there can be: Mosquitto discards QoS 2 messages beyond it after completing them"
            }
            Self::Size => {
                "Skein sets it: a message that one broker acknowledges and the next refuses is lost or blocks their link"
            }
            Self::Quality => "each message must keep its quality of service from broker to broker",
            Self::Persistence => "Skein sets it from the declared durability",
            Self::Duplicates => {
                "Skein sets it to false: filters of one link may overlap, and would give duplicates"
            }
            Self::Expiry => {
                "it would remove the sessions of bridges too, and what waits in them while a broker is away"
            }
            Self::Retained => "without retained messages a broker disconnects the bridges that carry them",
            Self::ClientIds => "bridges and heartbeats connect with client ids of their own",
            Self::Clients => "a broker that is full would turn away bridges and heartbeats too",
            Self::Memory => "a broker that hits it drops messages it has acknowledged",
            Self::Include => "what it reads could change every option that Skein relies on, unseen",
            Self::Listener => {
                "it belongs to one listener, and Skein writes those: bridges and heartbeats use them too"
            }
            Self::Tls => "it belongs to a TLS listener, which Skein does not write yet",
            Self::Bridge => "it belongs to a bridge, and Skein writes those from the declared topics",
            Self::Plugin => "plugins depend on their order and on files, and may change what is delivered",
            Self::Users => "it names a file that must exist wherever the broker may run",
            Self::Anonymous => "it has a field of its own",
            Self::PerListener => "Skein writes options for all listeners at once",
            Self::PidFile => "Skein's supervisor starts and stops the broker and needs no such file",
            Self::SystemUser => "Skein's supervisor decides which system user the broker runs as",
            Self::Log => "Skein's supervisor reads the broker's output",
            Self::Gone => "Mosquitto dropped it and ignores it",
        }
    }

    /// What to do.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Queue => "use spec.managed.queue",
            Self::Persistence => "use spec.managed.durability and spec.managed.storage",
            Self::Expiry => "remove it, and let clients that speak MQTT 5.0 set a session expiry",
            Self::Listener => "remove it; for a further port use spec.managed.listeners",
            Self::Tls => "remove it, and keep the broker on a network you trust",
            Self::Bridge => "remove it, and declare a Topic and NodeRoutes instead",
            Self::Users => {
                "remove it, and set spec.managed.allowAnonymous: clients cannot log in with names of their own yet"
            }
            Self::Anonymous => "use spec.managed.allowAnonymous",
            Self::Log => "remove it; log_type chooses what is logged",
            Self::Include => "move the options that may be passed through to spec.managed.settings",
            _ => "remove it",
        }
    }
}

const LOG_TYPES: &[&str] = &[
    "all",
    "debug",
    "error",
    "information",
    "internal",
    "none",
    "notice",
    "subscribe",
    "unsubscribe",
    "warning",
    "websockets",
];

const fn free(key: &'static str, kind: Kind) -> Entry {
    Entry {
        key,
        rule: Rule::Free {
            kind,
            since: None,
            reloads: true,
        },
    }
}

const fn since_2_1(key: &'static str, kind: Kind) -> Entry {
    Entry {
        key,
        rule: Rule::Free {
            kind,
            since: Some(Version::V2_1),
            reloads: true,
        },
    }
}

const fn at_start(key: &'static str, kind: Kind) -> Entry {
    Entry {
        key,
        rule: Rule::Free {
            kind,
            since: None,
            reloads: false,
        },
    }
}

const FREE: &[Entry] = &[
    free("allow_zero_length_clientid", Kind::Switch),
    free("auto_id_prefix", Kind::Prefix),
    at_start("check_retain_source", Kind::Switch),
    free("connection_messages", Kind::Switch),
    since_2_1("enable_control_api", Kind::Switch),
    free("log_timestamp", Kind::Switch),
    free("log_timestamp_format", Kind::Text),
    free("log_type", Kind::Words(LOG_TYPES)),
    // At least the bridges' own; 2.0 takes no less than 10.
    free("max_keepalive", Kind::Number(10, 65_535)),
    since_2_1("retain_expiry_interval", Kind::Number(1, 65_535)),
    free("set_tcp_nodelay", Kind::Switch),
    free("sys_interval", Kind::Number(0, 65_535)),
];

const OURS: &[(Why, &[&str])] = &[
    (
        Why::Queue,
        &["max_queued_bytes", "max_queued_messages", "queue_qos0_messages"],
    ),
    (Why::Inflight, &["max_inflight_bytes", "max_inflight_messages"]),
    (
        Why::Size,
        &["max_packet_size", "message_size_limit", "packet_buffer_size"],
    ),
    (Why::Quality, &["upgrade_outgoing_qos"]),
    (
        Why::Persistence,
        &[
            "autosave_interval",
            "autosave_on_changes",
            "persistence",
            "persistence_file",
            "persistence_location",
            "retained_persistence",
        ],
    ),
    (Why::Duplicates, &["allow_duplicate_messages"]),
    (Why::Expiry, &["persistent_client_expiration"]),
    (Why::Retained, &["retain_available"]),
    (Why::ClientIds, &["clientid_prefixes", "use_username_as_clientid"]),
    (
        Why::Clients,
        &["global_max_clients", "global_max_connections", "max_connections"],
    ),
    (Why::Memory, &["memory_limit"]),
    (Why::Include, &["include_dir"]),
    (
        Why::Listener,
        &[
            "accept_protocol_versions",
            "bind_address",
            "bind_interface",
            "enable_proxy_protocol",
            "http_dir",
            "listener",
            "listener_allow_anonymous",
            "listener_auto_id_prefix",
            "max_qos",
            "max_topic_alias",
            "max_topic_alias_broker",
            "maximum_qos",
            "mount_point",
            "port",
            "protocol",
            "proxy_protocol_v2_require_tls",
            "socket_domain",
            "websockets_headers_size",
            "websockets_log_level",
            "websockets_origin",
        ],
    ),
    (
        Why::Tls,
        &[
            "cafile",
            "capath",
            "certfile",
            "ciphers",
            "ciphers_tls1.3",
            "crlfile",
            "dhparamfile",
            "disable_client_cert_date_checks",
            "keyfile",
            "psk_hint",
            "require_certificate",
            "tls_engine",
            "tls_engine_kpass_sha1",
            "tls_keyform",
            "tls_version",
            "use_identity_as_username",
            "use_subject_as_username",
        ],
    ),
    (
        Why::Bridge,
        &[
            "address",
            "addresses",
            "bridge_alpn",
            "bridge_attempt_unsubscribe",
            "bridge_bind_address",
            "bridge_cafile",
            "bridge_capath",
            "bridge_certfile",
            "bridge_ciphers",
            "bridge_ciphers_tls1.3",
            "bridge_identity",
            "bridge_insecure",
            "bridge_keyfile",
            "bridge_max_packet_size",
            "bridge_max_topic_alias",
            "bridge_outgoing_retain",
            "bridge_protocol_version",
            "bridge_psk",
            "bridge_receive_maximum",
            "bridge_reload_type",
            "bridge_require_ocsp",
            "bridge_session_expiry_interval",
            "bridge_tcp_keepalive",
            "bridge_tcp_user_timeout",
            "bridge_tls_use_os_certs",
            "bridge_tls_version",
            "cleansession",
            "clientid",
            "connection",
            "idle_timeout",
            "keepalive_interval",
            "local_cleansession",
            "local_clientid",
            "local_password",
            "local_username",
            "notification_topic",
            "notifications",
            "notifications_local_only",
            "password",
            "remote_clientid",
            "remote_password",
            "remote_username",
            "restart_timeout",
            "round_robin",
            "start_type",
            "threshold",
            "topic",
            "try_private",
            "username",
        ],
    ),
    (
        Why::Plugin,
        &[
            "auth_plugin",
            "auth_plugin_deny_special_chars",
            "global_plugin",
            "plugin",
            "plugin_load",
            "plugin_use",
            "queue_plugin_msgs",
        ],
    ),
    (Why::Users, &["acl_file", "password_file", "psk_file"]),
    (Why::Anonymous, &["allow_anonymous"]),
    (Why::PerListener, &["per_listener_settings"]),
    (Why::PidFile, &["pid_file"]),
    (Why::SystemUser, &["user"]),
    (Why::Log, &["log_dest", "log_facility"]),
    (Why::Gone, &["retry_interval"]),
];

/// Every known option.
pub(super) fn all() -> impl Iterator<Item = Entry> {
    let free = FREE.iter().map(|entry| Entry {
        key: entry.key,
        rule: entry.rule,
    });
    let ours = OURS.iter().flat_map(|(why, keys)| {
        keys.iter().map(|key| Entry {
            key,
            rule: Rule::Ours(*why),
        })
    });
    free.chain(ours)
}

/// An option by its name.
pub(super) fn find(key: &str) -> Option<Entry> {
    // Options of plugins have any name.
    if key.starts_with("plugin_opt_") || key.starts_with("auth_opt_") {
        return Some(Entry {
            key: "plugin_opt_",
            rule: Rule::Ours(Why::Plugin),
        });
    }
    all().find(|entry| entry.key == key)
}
