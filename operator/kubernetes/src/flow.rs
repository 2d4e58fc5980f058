//! Whether a fleet carries messages, as its clients would find out.

use std::str::FromStr;
use std::time::Duration;

use skein_mqtt::session::{Options, SessionError};
use skein_mqtt::{Address, RumqttSession, carry};
use tokio::time::{Instant, sleep};

use crate::arguments::Flow;

/// How long a message may take before the next one is sent: links of a fleet that has just been made come up one by one.
const ATTEMPT: Duration = Duration::from_secs(3);
/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Where a broker is, as it is written on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place(Address);

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').unwrap_or((text, "1883"));
        let port = port
            .parse()
            .map_err(|_| format!("'{port}' is no port; write HOST:PORT, such as a.fleet.svc:1883"))?;
        if host.is_empty() {
            return Err("it has no host; write HOST:PORT, such as a.fleet.svc:1883".to_owned());
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self(Address { host, port }))
    }
}

/// Sends messages until one arrives, and says what came of it.
pub(crate) async fn test(flow: Flow) -> Result<(), String> {
    let begin = Instant::now();
    let own = std::process::id();
    let (from, to) = (flow.from.0, flow.to.0);
    let mut attempt = 0_u32;
    loop {
        attempt += 1;
        let payload = format!("{own}/{attempt}");
        let at = |address: &Address, end: &str| Options {
            credentials: flow.username.clone().zip(flow.password.clone()),
            ..Options::new(address.clone(), format!("skein-test-{end}-{own}"))
        };
        let carried = carry::<RumqttSession>(
            at(&from, "from"),
            at(&to, "to"),
            &flow.topic,
            payload.as_bytes(),
            ATTEMPT,
        );
        let error = match carried.await {
            Ok(took) => {
                println!(
                    "{}: published at {from}, received at {to} after {:.1} ms",
                    flow.topic,
                    took.as_secs_f64() * 1000.0
                );
                return Ok(());
            }
            Err(error) => error,
        };
        if begin.elapsed() >= flow.within.get() {
            return Err(format!(
                "nothing that is published as {} at {from} is received at {to}: {}",
                flow.topic,
                why(&error)
            ));
        }
        println!("attempt {attempt}: {}", why(&error));
        sleep(PAUSE).await;
    }
}

fn why(error: &SessionError) -> String {
    match error {
        SessionError::TimedOut(limit) => format!("no message within {limit:?}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_hosts_with_or_without_a_port() {
        let place = |text: &str| text.parse::<Place>().map(|place| place.0.to_string());
        assert_eq!(place("a.fleet.svc"), Ok("a.fleet.svc:1883".to_owned()));
        assert_eq!(place("127.0.0.1:2883"), Ok("127.0.0.1:2883".to_owned()));
        assert_eq!(place("[::1]:1883"), Ok("::1:1883".to_owned()));
        assert!(place("a:x").unwrap_err().starts_with("'x' is no port"));
        assert!(place(":1883").unwrap_err().starts_with("it has no host"));
    }
}
