//! Takes the supervisor's reports to the broker's `ConfigMap`.
//!
//! The newest one gets there, however long the API is away; one that was overtaken on the way need not. The supervisor never
//! waits for that.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::runtime::utils::Backoff as _;
use kube::runtime::watcher::DefaultBackoff;
use kube::{Api, Error};
use skein_agent::files::FileError;
use skein_agent::seams::{FileReports, ReportSink};
use skein_agent::{BrokerDirectory, Report};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::trouble::Trouble;
use crate::{FIELD_MANAGER, POD};

/// How long one try may take. One that is given up closes its connection, and the next one has another.
const TRY: Duration = Duration::from_secs(10);

/// How long to wait where the back-off does not say.
const PAUSE: Duration = Duration::from_secs(5);

/// Where the supervisor puts its reports: into the file, and here.
pub(crate) struct Reports {
    files: FileReports,
    newest: watch::Sender<Option<Report>>,
}

impl Reports {
    /// Beside the end that is posted from.
    pub(crate) fn new(files: FileReports) -> (Self, watch::Receiver<Option<Report>>) {
        let (newest, taken) = watch::channel(None);
        (Self { files, newest }, taken)
    }
}

impl ReportSink for Reports {
    async fn publish(&mut self, report: &Report) -> Result<(), FileError> {
        // Before the file, which may be on a full disk: that is tried again and again, and is no news each time.
        self.newest.send_if_modified(|newest| {
            let known = newest.as_ref().is_some_and(|newest| {
                let at_that_time = Report {
                    at: report.at,
                    ..newest.clone()
                };
                at_that_time == *report
            });
            if !known {
                *newest = Some(report.clone());
            }
            !known
        });
        self.files.publish(report).await
    }
}

/// Writes the newest report into the `ConfigMap` of this name whenever there is another, until no more can come and the last
/// one is written.
pub(crate) async fn post(
    maps: Api<ConfigMap>,
    name: String,
    pod: String,
    mut newest: watch::Receiver<Option<Report>>,
) {
    let mut backoff = DefaultBackoff::default();
    let mut trouble = Trouble::default();
    // Until it is closed.
    let mut open = true;
    while newest.changed().await.is_ok() {
        loop {
            let Some(report) = newest.borrow_and_update().clone() else {
                break;
            };
            let written = match timeout(TRY, apply(&maps, &name, &pod, &report)).await {
                Ok(written) => written.map_err(|error| error.to_string()),
                Err(_) => Err("no answer".to_owned()),
            };
            let Err(error) = written else {
                backoff.reset();
                break;
            };
            trouble.say(format_args!(
                "cannot write the report to ConfigMap {name}: {error}"
            ));
            tokio::select! {
                () = sleep(backoff.next().unwrap_or(PAUSE)) => {}
                // There is another one, or little time left: at once.
                changed = newest.changed(), if open => open = changed.is_ok(),
            }
        }
    }
}

async fn apply(maps: &Api<ConfigMap>, name: &str, pod: &str, report: &Report) -> Result<(), Error> {
    let report = serde_json::to_string(report).map_err(Error::SerdeError)?;
    let data = BTreeMap::from([
        (BrokerDirectory::REPORT.to_owned(), report),
        (POD.to_owned(), pod.to_owned()),
    ]);
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(data),
        ..ConfigMap::default()
    };
    maps.patch(
        name,
        &PatchParams::apply(FIELD_MANAGER).force(),
        &Patch::Apply(&map),
    )
    .await
    .map(|_| ())
}
