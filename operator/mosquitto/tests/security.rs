//! Passwords, the dynamic-security file and what a configuration says of both: the same for the same input, read back as
//! they were, and never more than was meant.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use common::{NEWEST, OLDEST, broker, config, link};
use proptest::prelude::*;
use serde_json::{Value, json};
use skein_mosquitto::config::{Config, SecurityPlugin, parse, render};
use skein_mosquitto::security::{
    self, Account, FleetSecret, Login, Password, PasswordHash, ReadError, Security, barred, bridge_user,
    downstream_of, read,
};
use skein_mosquitto::transition::{Action, transition};

fn secret() -> FleetSecret {
    let mut bytes = [0; 32];
    for (byte, number) in bytes.iter_mut().zip(0..) {
        *byte = number;
    }
    FleetSecret::new(bytes)
}

fn model(anonymous: bool) -> Security {
    Security::derived(&secret(), &broker("b"), &[broker("a"), broker("c")], anonymous)
}

fn password(login: &Login) -> &str {
    login.password.expose()
}

/// What 2.1 makes of a file, or with `one_field` false 2.0: sorted, and with additions of its own.
fn rewritten(text: &str, one_field: bool, disabled: &[&str]) -> String {
    let mut file: Value = serde_json::from_str(text).unwrap();
    for client in file["clients"].as_array_mut().unwrap() {
        if disabled.contains(&client["username"].as_str().unwrap()) {
            client["disabled"] = json!(true);
        }
        if one_field {
            let field = |name: &str| client[name].as_str().unwrap().to_owned();
            let encoded = format!("$7$101${}${}", field("salt"), field("password"));
            let client = client.as_object_mut().unwrap();
            for name in ["salt", "password", "iterations"] {
                client.remove(name);
            }
            client.insert("encoded_password".to_owned(), json!(encoded));
        }
    }
    file["clients"].as_array_mut().unwrap().reverse();
    for role in file["roles"].as_array_mut().unwrap() {
        role["acls"].as_array_mut().unwrap().reverse();
        role["allowwildcardsubs"] = json!(true);
    }
    file["changeIndex"] = json!(3);
    file.to_string()
}

#[test]
fn a_password_is_what_hmac_and_pbkdf2_of_others_make_it() {
    // By Python's hmac and hashlib.
    let text = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    assert_eq!(FleetSecret::parse(&format!("{text}\n")), Ok(secret()));
    assert_eq!(secret().to_text(), text);
    let skein = secret().administrator(&broker("b"));
    assert_eq!(
        (skein.user.as_str(), password(&skein)),
        ("skein", "2m3-6Bpv87ypntn9mHKOWnHRffadRH4L8jB6Zjdg1xc")
    );
    let bridge = secret().bridge(&broker("a"), &broker("b"));
    assert_eq!(
        (bridge.user.as_str(), password(&bridge)),
        ("skein:a", "B--XcFfmzSj9LmOfOHzwHilFXjfuslGrQ8HS_swvaho")
    );
    let token = secret().token(&broker("b"));
    assert_eq!(token.expose(), "aVGyI65V08VJXB_-rIsuFY7pxdxYEQZJofw4Toi6b2g");
    let mut security = model(false);
    security.administrator.hash = PasswordHash::of(&Password::new("secret").unwrap(), *b"skein-salt-1");
    let text = security::render(&security);
    let hash = "3PXDK2MedAe7FDPzChRe3QUQ+gs+Bz60rBvv/0PjNU9TyNCGldAjIlatLLuJojeRk8puhBsj6JaYOJOp5T38sQ==";
    let expected = format!("\"password\": \"{hash}\",\n      \"salt\": \"c2tlaW4tc2FsdC0x\",");
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn no_two_users_share_a_password_or_a_salt() {
    let names = ["a", "b", "a-b", "skein", "v1"].map(broker);
    let mut passwords = BTreeSet::new();
    let mut hashes = BTreeSet::new();
    for upstream in &names {
        passwords.insert(password(&secret().administrator(upstream)).to_owned());
        passwords.insert(secret().token(upstream).expose().to_owned());
        for downstream in &names {
            passwords.insert(password(&secret().bridge(downstream, upstream)).to_owned());
        }
        let security = Security::derived(&secret(), upstream, &names, true);
        for account in security.bridges.values().chain([&security.administrator]) {
            let PasswordHash::Pbkdf2 { salt, .. } = &account.hash else {
                panic!("{account:?}")
            };
            hashes.insert(*salt);
        }
    }
    assert_eq!((passwords.len(), hashes.len()), (35, 30));
    let other = FleetSecret::new([7; 32]);
    assert!(!passwords.contains(password(&other.bridge(&names[0], &names[1]))));
}

#[test]
fn secrets_are_not_shown() {
    let login = secret().bridge(&broker("a"), &broker("b"));
    let shown = format!("{:?} {:?} {:?}", secret(), login, FleetSecret::parse("AAEC"));
    assert!(
        !shown.contains(password(&login)) && !shown.contains("AAEC"),
        "{shown}"
    );
    assert!(!shown.contains("[0, 1"), "{shown}");
    for text in ["", "AAEC", &"A".repeat(42), &"A".repeat(44), &"*".repeat(43)] {
        assert!(FleetSecret::parse(text).is_err(), "{text}");
    }
    for text in ["", " x", "x\n", "x\ny"] {
        assert_eq!(Password::new(text), None);
    }
}

#[test]
fn a_user_names_the_broker_that_holds_the_bridge() {
    assert_eq!(downstream_of(&bridge_user(&broker("a-7"))), Some(broker("a-7")));
    for user in ["skein", "skein:", "skein:A", "skein:a:b", "a", "x:a"] {
        assert_eq!(downstream_of(user), None, "{user}");
    }
}

#[test]
fn the_file_of_a_broker_with_one_downstream() {
    let mut security = Security::derived(&secret(), &broker("b"), &[broker("a")], true);
    security.bar(&BTreeSet::from([broker("a")]));
    insta::assert_snapshot!(security::render(&security));
}

#[test]
fn equal_models_give_equal_bytes_and_every_file_reads_back() {
    for anonymous in [true, false] {
        let mut security = model(anonymous);
        assert_eq!(security::render(&security), security::render(&model(anonymous)));
        assert_eq!(read(&security::render(&security)), Ok(security.clone()));
        security.bar(&BTreeSet::from([broker("c"), broker("x")]));
        assert_eq!(security.barred().collect::<Vec<_>>(), [&broker("c")]);
        let text = security::render(&security);
        assert_eq!(read(&text), Ok(security.clone()));
        for one_field in [true, false] {
            assert_eq!(read(&rewritten(&text, one_field, &[])), Ok(security.clone()));
        }
    }
}

#[test]
fn who_is_barred_outlives_a_new_file() {
    for one_field in [true, false] {
        let left = rewritten(&security::render(&model(true)), one_field, &["skein:a", "skein"]);
        assert_eq!(barred(&left), Ok(BTreeSet::from([broker("a")])));
        // The next file has another downstream and no a.
        let mut next = Security::derived(&secret(), &broker("b"), &[broker("c"), broker("d")], true);
        assert_eq!(next.keep_barred(&left), Ok(()));
        assert_eq!(next.barred().count(), 0);
        let mut next = model(true);
        next.keep_barred(&left).unwrap();
        assert_eq!(next.barred().collect::<Vec<_>>(), [&broker("a")]);
        assert!(!next.administrator.barred);
    }
}

#[test]
fn a_file_that_nobody_can_read_bars_all() {
    let whole = security::render(&model(true));
    for left in ["", "{}", "[]", "null", &whole[..whole.len() / 2]] {
        let mut next = model(true);
        assert!(
            matches!(next.keep_barred(left), Err(ReadError::Broken(_))),
            "{left}"
        );
        assert_eq!(next.barred().count(), 2);
        assert!(!next.administrator.barred);
    }
}

#[test]
fn what_somebody_else_put_into_a_file_is_said_and_bars_nobody_else() {
    type Case<'a> = (&'a dyn Fn(&mut Value), &'a str);
    let text = security::render(&model(true));
    let file: Value = serde_json::from_str(&text).unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut file = file.clone();
        change(&mut file);
        file.to_string()
    };
    let cases: [Case<'_>; 9] = [
        (
            &|file| file["clients"][1]["username"] = json!("sensor"),
            "a user sensor",
        ),
        (
            &|file| file["clients"][1]["roles"][0]["rolename"] = json!("skein"),
            "other roles for the user skein:a",
        ),
        (
            &|file| file["clients"][1]["salt"] = json!("AAAA"),
            "no password for the user skein:a",
        ),
        (
            &|file| drop(file["clients"].as_array_mut().unwrap().remove(0)),
            "no user skein",
        ),
        (
            &|file| file["roles"][1]["acls"][0]["allow"] = json!(true),
            "another role skein-bridge",
        ),
        (
            &|file| drop(file["roles"].as_array_mut().unwrap().pop()),
            "another role anonymous",
        ),
        (
            &|file| file["groups"][0]["clients"] = json!([{"username": "skein:a"}]),
            "a group anonymous, or other roles or clients in it",
        ),
        (
            &|file| file["anonymousGroup"] = json!("everybody"),
            "a group everybody for clients without a name",
        ),
        (
            &|file| file["defaultACLAccess"]["subscribe"] = json!(false),
            "other rights where no rule matches",
        ),
    ];
    for (change, expected) in cases {
        let text = changed(change);
        assert_eq!(read(&text), Err(ReadError::Foreign(expected.to_owned())));
        assert_eq!(barred(&text), Ok(BTreeSet::new()));
    }
}

#[test]
fn a_hash_of_a_form_that_only_2_1_knows_stays_as_it_is() {
    let mut security = model(false);
    let hash = PasswordHash::Encoded("$argon2id$v=19$m=1,t=2,p=1$AAAA$BBBB".to_owned());
    security
        .bridges
        .insert(broker("d"), Account { hash, barred: true });
    let text = security::render(&security);
    assert!(text.contains("\"encoded_password\": \"$argon2id$"), "{text}");
    assert_eq!(read(&text), Ok(security));
}

fn plugin() -> SecurityPlugin {
    SecurityPlugin {
        plugin: "/usr/lib/mosquitto_dynamic_security.so".to_owned(),
        file: "/var/lib/skein/a/security.json".to_owned(),
    }
}

fn secured(version: skein_mosquitto::version::Version) -> Config {
    let links = [
        link("a", "b", "soil", &["t in 1"]),
        link("a", "cloud", "soil", &["t in 1"]),
    ];
    let mut config = config(&links, version);
    let login =
        |upstream: &_| (*upstream != broker("cloud")).then(|| secret().bridge(&broker("a"), upstream));
    config.secure(plugin(), login).unwrap();
    config
}

#[test]
fn a_configuration_names_the_plugin_and_who_its_connections_are() {
    for version in [OLDEST, NEWEST] {
        let config = secured(version);
        let text = render(&config);
        assert_eq!(parse(&text), Ok(config), "{text}");
        let expected = "plugin /usr/lib/mosquitto_dynamic_security.so\n\
                        plugin_opt_config_file /var/lib/skein/a/security.json\n\nlistener";
        assert!(text.contains(expected), "{text}");
        let login = secret().bridge(&broker("a"), &broker("b"));
        let expected = format!(
            "remote_clientid skein:a:b:pull:soil\nremote_username skein:a\nremote_password {}\nlocal_clientid",
            password(&login)
        );
        assert!(text.contains(&expected), "{text}");
        assert_eq!(text.matches("remote_username").count(), 1, "{text}");
    }
}

#[test]
fn another_plugin_or_login_takes_a_restart() {
    for version in [OLDEST, NEWEST] {
        let new = secured(version);
        let mut old = new.clone();
        assert_eq!(transition(&old, &new, version).action, Action::None);
        old.security = None;
        let found = transition(&old, &new, version);
        assert_eq!(
            (found.action, found.reasons),
            (
                Action::Restart,
                vec![
                    "the dynamic-security plugin changes, and plugins are loaded at the start only"
                        .to_owned()
                ]
            )
        );
        let mut old = new.clone();
        std::sync::Arc::make_mut(&mut old.connections[0]).login = None;
        assert_eq!(transition(&old, &new, version).action, Action::Restart);
    }
}

#[test]
fn paths_that_cannot_be_written_are_refused() {
    for path in ["", "relative.so", "/x\ny", "/x "] {
        for bad in [
            SecurityPlugin {
                plugin: path.to_owned(),
                ..plugin()
            },
            SecurityPlugin {
                file: path.to_owned(),
                ..plugin()
            },
        ] {
            let mut config = config(&[], NEWEST);
            let problem = config.secure(bad, |_| None).unwrap_err().to_string();
            assert!(
                problem.starts_with("Broker/a: security plugin or its file: "),
                "{problem}"
            );
            assert_eq!(config.security, None);
        }
    }
}

#[test]
fn plugins_that_are_not_skeins_are_refused() {
    let text = render(&secured(NEWEST));
    let cases = [
        (
            "plugin_opt_sync normal\n",
            "plugin_opt_sync normal\nplugin /x.so\n",
            "plugin_opt_flush_period is missing here",
        ),
        (
            "plugin_opt_config_file ",
            "plugin_opt_x y\nplugin_opt_config_file ",
            "plugin_opt_x is nothing that Skein writes for a plugin",
        ),
        (
            "persistence false\n",
            "plugin_opt_x y\npersistence false\n",
            "plugin_opt_x comes before any plugin",
        ),
        (
            "remote_password ",
            "remote_passw0rd ",
            "remote_password is missing here",
        ),
        ("plugin_opt_sync normal\n", "", "plugin_opt_sync is missing here"),
    ];
    for (from, to, expected) in cases {
        let error = parse(&text.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
    let classic = render(&secured(OLDEST)).replace("\nlistener", "plugin /x.so\n\nlistener");
    let error = parse(&classic).unwrap_err().to_string();
    assert!(
        error.ends_with("/x.so is no plugin that Skein writes here"),
        "{error}"
    );
}

/// A file, hashed once.
fn whole() -> &'static str {
    static WHOLE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    WHOLE.get_or_init(|| security::render(&model(true)))
}

proptest! {
    #[test]
    fn a_secured_configuration_reads_back_whatever_its_paths(
        plugin in "[ -~é\n\t]{0,12}", file in "[ -~é\n\t]{0,12}", user in "[ -~]{0,9}", text in "[ -~é\r]{0,9}", index in 0..2_usize,
    ) {
        let mut config = secured(if index == 0 { OLDEST } else { NEWEST });
        let login = Password::new(&text).filter(|_| user.trim() == user && !user.is_empty());
        let login = login.map(|password| Login { user, password });
        let plugin = SecurityPlugin { plugin: format!("/{plugin}"), file: format!("/{file}") };
        if config.secure(plugin, |_| login.clone()).is_ok() {
            let text = render(&config);
            prop_assert_eq!(parse(&text), Ok(config), "{}", text);
        }
    }

    #[test]
    fn any_text_is_a_file_or_refused(text in any::<String>(), cut in any::<prop::sample::Index>()) {
        let _ = read(&text);
        let whole = whole();
        let half: String = whole.chars().take(cut.index(whole.len())).collect();
        prop_assert!(read(&half).is_err() || read(&half) == read(whole));
    }
}
