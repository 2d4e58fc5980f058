//! What benchmarks have in common: how often they try, what the rest of the machine does meanwhile, and what comes of the
//! times. It knows numbers and processors, no fleets.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rumqttc::MqttOptions;

/// Whether this program is to measure: `cargo test --benches` only wants to know that it builds and begins.
#[must_use]
pub fn is_bench() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// What an environment variable sets; `usual` where it does not, or `least` where nothing is to be measured.
#[must_use]
pub fn from_environment<T: FromStr>(variable: &str, usual: T, least: T) -> T {
    let set = std::env::var(variable).ok().and_then(|text| text.parse().ok());
    set.unwrap_or(if is_bench() { usual } else { least })
}

/// The value below which such a fraction of them lies, rounded to hundredths; 0 of none.
#[must_use]
pub fn quantile(values: &[f64], fraction: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    let at = (sorted.len() as f64 * fraction).ceil() as usize;
    let value = sorted.get(at.saturating_sub(1)).or(sorted.last());
    value.map_or(0.0, |value| (value * 100.0).round() / 100.0)
}

/// How `rumqttc` is to connect to `host:port`.
#[must_use]
pub fn connect_options(address: &str, client_id: &str) -> MqttOptions {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "1883"));
    MqttOptions::new(client_id, host, port.parse().unwrap_or(1883))
}

/// The processors of this machine.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// Threads that do nothing but compute, until dropped.
#[derive(Debug)]
pub struct Burners {
    on: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Burners {
    /// So many.
    #[must_use]
    pub fn start(count: usize) -> Self {
        let on = Arc::new(AtomicBool::new(true));
        let burn = |on: Arc<AtomicBool>| {
            std::thread::spawn(move || {
                while on.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        let threads = (0..count).map(|_| burn(on.clone())).collect();
        Self { on, threads }
    }
}

impl Drop for Burners {
    fn drop(&mut self) {
        self.on.store(false, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked burns no more either.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        for (fraction, value) in [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            assert!((quantile(&values, fraction) - value).abs() < 1e-9, "{fraction}");
        }
        assert!((quantile(&[1.234], 0.5) - 1.23).abs() < 1e-9);
    }
}
