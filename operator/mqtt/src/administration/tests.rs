//! Against a fake broker whose plugin is a client that reads the commands and writes what the real one would.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{
    AdministrationError, Administrator, COMMANDS, RESPONSES, Reason, Refusal, admit, fence, fenced, unfence,
};
use crate::RumqttSession;
use crate::fake::FakeBroker;
use crate::session::{Incoming, Options, Qos, Session as _, SessionError};

/// How the plugin misbehaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Not at all.
    Proper,
    /// It answers somebody else, too, and first.
    Talkative,
    /// It does as told and says nothing.
    Mute,
    /// It answers only the first command of a message.
    Curt,
}

#[derive(Default)]
struct State {
    /// User to whether it is disabled.
    users: BTreeMap<String, bool>,
    /// Commands of each message so far.
    messages: Vec<usize>,
}

/// A fake broker with the plugin.
struct Secured {
    broker: Arc<FakeBroker>,
    state: Arc<Mutex<State>>,
    plugin: JoinHandle<()>,
}

impl Drop for Secured {
    fn drop(&mut self) {
        self.plugin.abort();
    }
}

impl Secured {
    async fn start(manner: Manner, users: &[&str]) -> Self {
        let broker = FakeBroker::start().await;
        let state = Arc::new(Mutex::new(State::default()));
        let none = users.iter().map(|user| ((*user).to_owned(), false));
        state.lock().unwrap().users.extend(none);
        let mut session = RumqttSession::connect(Options::new(broker.address(), "plugin"))
            .await
            .unwrap();
        session.subscribe(&[COMMANDS], Qos::AtLeastOnce).await.unwrap();
        let (fake, known) = (broker.clone(), state.clone());
        let plugin = tokio::spawn(async move {
            while let Ok(incoming) = session.next().await {
                if let Incoming::Message(message) = incoming {
                    respond(&fake, &known, manner, &message.payload);
                }
            }
        });
        Self {
            broker,
            state,
            plugin,
        }
    }

    fn administrator(&self) -> Administrator {
        Administrator {
            address: self.broker.address(),
            credentials: ("skein".to_owned(), "secret".to_owned()),
            client_id: "engine".to_owned(),
            patience: Duration::from_secs(10),
        }
    }

    fn disabled(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let disabled = state.users.iter().filter(|(_, disabled)| **disabled);
        disabled.map(|(user, _)| user.clone()).collect()
    }
}

fn respond(broker: &FakeBroker, state: &Mutex<State>, manner: Manner, payload: &[u8]) {
    let message: Value = serde_json::from_slice(payload).unwrap();
    let commands = message["commands"].as_array().unwrap();
    let mut state = state.lock().unwrap();
    state.messages.push(commands.len());
    let mut responses: Vec<Value> = commands
        .iter()
        .map(|command| follow(&mut state, command))
        .collect();
    match manner {
        Manner::Proper => {}
        Manner::Talkative => {
            broker.publish(RESPONSES, b"not even JSON");
            broker.publish(RESPONSES, br#"{"responses": []}"#);
            let other = json!({"responses": [{"command": "disableClient", "error": "Client not found", "correlationData": "somebody/1"}]});
            broker.publish(RESPONSES, other.to_string().as_bytes());
            broker.publish(RESPONSES, br#"{"responses": [{"command": "disableClient"}]}"#);
        }
        Manner::Mute => return,
        Manner::Curt => responses.truncate(1),
    }
    broker.publish(RESPONSES, json!({"responses": responses}).to_string().as_bytes());
}

fn follow(state: &mut State, command: &Value) -> Value {
    let name = command["command"].as_str().unwrap();
    let mut response = json!({"command": name, "correlationData": command["correlationData"]});
    if name == "listClients" {
        let clients = state.users.iter().map(|(user, disabled)| {
            let mut client = json!({"username": user, "roles": [], "groups": []});
            if *disabled {
                client["disabled"] = json!(true);
            }
            client
        });
        response["data"] =
            json!({"totalCount": state.users.len(), "clients": clients.collect::<Vec<Value>>()});
        return response;
    }
    let user = command["username"].as_str().unwrap();
    let error = match (name, state.users.get_mut(user)) {
        ("createClient", Some(_)) => Some("Client already exists"),
        ("createClient", None) if command["roles"][0]["rolename"] != "bridge" => Some("Role not found"),
        ("createClient", None) => {
            state.users.insert(user.to_owned(), false);
            None
        }
        (_, None) => Some("Client not found"),
        (_, Some(_)) if user == "cursed" => Some("Internal error"),
        (_, Some(disabled)) => {
            *disabled = name == "disableClient";
            None
        }
    };
    if let Some(error) = error {
        response["error"] = json!(error);
    }
    response
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn who_is_fenced_is_barred_until_unfenced_and_again_is_no_error() {
    let secured = Secured::start(Manner::Proper, &["skein", "skein:a", "skein:c"]).await;
    let at = secured.administrator();
    for _ in 0..2 {
        fence::<RumqttSession>(&at, &names(&["skein:a"])).await.unwrap();
        assert_eq!(secured.disabled(), ["skein:a"]);
        let found = fenced::<RumqttSession>(&at).await.unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["skein:a"]);
    }
    for _ in 0..2 {
        unfence::<RumqttSession>(&at, &names(&["skein:a"])).await.unwrap();
        assert_eq!(secured.disabled(), Vec::<String>::new());
        assert!(fenced::<RumqttSession>(&at).await.unwrap().is_empty());
    }
    // Nobody stays connected.
    let gone = async {
        while secured.broker.clients() != ["plugin"] {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.unwrap();
}

#[tokio::test]
async fn many_users_take_messages_of_few_commands_and_none_take_none() {
    let many: Vec<String> = (0..43).map(|number| format!("skein:b{number}")).collect();
    let users: Vec<&str> = many.iter().map(String::as_str).collect();
    let secured = Secured::start(Manner::Proper, &users).await;
    let at = secured.administrator();
    fence::<RumqttSession>(&at, &many).await.unwrap();
    assert_eq!(secured.disabled().len(), many.len());
    assert_eq!(secured.state.lock().unwrap().messages, [20, 20, 3]);
    assert_eq!(fenced::<RumqttSession>(&at).await.unwrap().len(), many.len());
    let before = *secured.broker.connects().borrow();
    unfence::<RumqttSession>(&at, &[]).await.unwrap();
    assert_eq!(*secured.broker.connects().borrow(), before);
}

#[tokio::test]
async fn each_refusal_is_told_and_the_others_are_done() {
    let secured = Secured::start(Manner::Proper, &["skein:a", "cursed"]).await;
    let at = secured.administrator();
    let users = names(&["nobody", "skein:a", "cursed"]);
    let error = fence::<RumqttSession>(&at, &users).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the broker at {} refuses disableClient of nobody: it has no such user; disableClient of cursed: Internal error",
            at.address
        )
    );
    let AdministrationError::Refused { refusals, .. } = error else {
        panic!("{error}")
    };
    let refusal = |user: &str, reason| Refusal {
        command: "disableClient",
        user: user.to_owned(),
        reason,
    };
    assert_eq!(
        refusals,
        [
            refusal("nobody", Reason::UnknownUser),
            refusal("cursed", Reason::Other("Internal error".to_owned())),
        ]
    );
    assert_eq!(secured.disabled(), ["skein:a"]);
}

#[tokio::test]
async fn a_user_that_is_there_already_stays_as_it_is() {
    let secured = Secured::start(Manner::Proper, &["skein:a"]).await;
    let at = secured.administrator();
    fence::<RumqttSession>(&at, &names(&["skein:a"])).await.unwrap();
    let logins = ["skein:a", "skein:c"].map(|user| (user.to_owned(), "secret".to_owned()));
    for _ in 0..2 {
        admit::<RumqttSession>(&at, "bridge", &logins).await.unwrap();
    }
    assert_eq!(secured.state.lock().unwrap().users.len(), 2);
    assert_eq!(secured.disabled(), ["skein:a"]);
    let logins = [("skein:d".to_owned(), "secret".to_owned())];
    let error = admit::<RumqttSession>(&at, "king", &logins).await.unwrap_err();
    let expected = "refuses createClient of skein:d: it has no such role";
    assert!(error.to_string().ends_with(expected), "{error}");
}

#[tokio::test]
async fn answers_to_others_are_passed_over() {
    let secured = Secured::start(Manner::Talkative, &["skein:a"]).await;
    let at = secured.administrator();
    fence::<RumqttSession>(&at, &names(&["skein:a"])).await.unwrap();
    assert_eq!(secured.disabled(), ["skein:a"]);
}

#[tokio::test]
async fn a_broker_that_does_not_answer_is_given_up_in_time() {
    let secured = Secured::start(Manner::Mute, &["skein:a"]).await;
    let mut at = secured.administrator();
    at.patience = Duration::from_millis(100);
    let mute = fence::<RumqttSession>(&at, &names(&["skein:a"]))
        .await
        .unwrap_err();
    assert!(
        matches!(
            mute,
            AdministrationError::NoAnswer {
                command: "disableClient",
                ..
            }
        ),
        "{mute}"
    );
    secured.broker.hang(true);
    let hangs = fenced::<RumqttSession>(&at).await.unwrap_err();
    assert!(
        matches!(
            hangs,
            AdministrationError::NoAnswer { .. }
                | AdministrationError::Session {
                    source: SessionError::TimedOut(_),
                    ..
                }
        ),
        "{hangs}"
    );
}

#[tokio::test]
async fn an_answer_that_leaves_commands_out_is_no_answer() {
    let secured = Secured::start(Manner::Curt, &["skein:a", "skein:c"]).await;
    let at = secured.administrator();
    let error = fence::<RumqttSession>(&at, &names(&["skein:a", "skein:c"]))
        .await
        .unwrap_err();
    assert!(matches!(error, AdministrationError::Unreadable { .. }), "{error}");
}

#[tokio::test]
async fn whoever_may_not_connect_or_listen_is_told_so() {
    let secured = Secured::start(Manner::Proper, &["skein:a"]).await;
    let at = secured.administrator();
    let user = names(&["skein:a"]);
    secured.broker.reject(RESPONSES);
    let error = fence::<RumqttSession>(&at, &user).await.unwrap_err();
    let expected = format!(
        "cannot administer the broker at {}: the broker rejects the subscription of {RESPONSES}",
        at.address
    );
    assert_eq!(error.to_string(), expected);
    secured.broker.refuse_with(5);
    let error = fence::<RumqttSession>(&at, &user).await.unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("rejects the connection: not authorised"),
        "{error}"
    );
    secured.broker.die().await;
    let error = fence::<RumqttSession>(&at, &user).await.unwrap_err();
    assert!(
        matches!(
            error,
            AdministrationError::Session {
                source: SessionError::Refused,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(secured.disabled(), Vec::<String>::new());
}
