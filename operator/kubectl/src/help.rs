//! The texts of `--help` that are longer than a line.

pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  all is well
  1  a finding of severity error, a difference (diff --exit-code), or it could not be done
  2  bad input: arguments, manifests, or what cannot be meant";

pub(crate) const LONG: &str = "\
How to begin:
  kubectl skein status -n farm               is the fleet of namespace farm well?
  kubectl skein explain topic/soil -n farm   why does it flow so?
  kubectl skein drain i -n farm              lead the clients of broker i away
  kubectl skein debug -n farm                collect what a bug report needs

A namespace is a fleet. What is shown is what custom resources declare and their status tells; `kubectl apply` changes it.
To look at manifests that are not applied yet, take `skein plan -f DIR`, or `kubectl skein diff -f DIR`.

Exit codes:
  0  all is well
  1  a finding of severity error, a difference (diff --exit-code), or it could not be done
  2  bad input: arguments, manifests, or what cannot be meant";

pub(crate) const STATUS: &str = "\
Examples:
  kubectl skein status
  kubectl skein status --watch
  kubectl skein status -A                    every namespace that has a fleet
  kubectl skein status -o json | jq '.paths[] | select(.up | not)'

Exit codes:
  0  shown    1  there is no fleet, or it cannot be read";

pub(crate) const PLAN: &str = "\
Brokers that the status says are down count as down, and served by whom it says.

Examples:
  kubectl skein plan
  kubectl skein plan --down c                and with broker c dead
  kubectl skein plan --down i=i2             and with i dead and i2 serving its clients

Exit codes:
  0  no finding of severity error    1  there is one, or there is no fleet";

pub(crate) const EXPLAIN: &str = "\
Examples:
  kubectl skein explain topic/soil                   the paths, why they are so, and what carries them
  kubectl skein explain topic/soil --from i --to a   one path only
  kubectl skein explain broker/i                     links, substitutes, what happens if it dies
  kubectl skein explain route/a-d                    who uses it, or why nobody does

Exit codes:
  0  explained    1  there is no fleet    2  there is no such object";

pub(crate) const DIFF: &str = "\
The directory is to hold the whole fleet: what is in the cluster and not in it counts as removed. `kubectl apply` alone
would leave that there.

Examples:
  kubectl skein diff -f farm
  kubectl skein diff -f farm --steps         which brokers restart, what may be lost?
  kubectl skein diff -f farm --exit-code && echo \"no change\"

Exit codes:
  0  compared (with --exit-code: equal, or with --steps nothing to do)
  1  with --exit-code: they differ; with --steps: Skein does not get there; or there is no fleet
  2  bad manifests";

pub(crate) const GRAPH: &str = "\
Grey lines are routes with their cost, arrows are links and point the way the data goes.

Example:
  kubectl skein graph | dot -Tsvg > farm.svg";

pub(crate) const DRAIN: &str = "\
Makes Migration/drain-BROKER and follows it. The sessions of its clients are opened at the other broker first; then both
serve until every client has got what waits for it, and only then the broker's Service leads to the other. What is
acknowledged at QoS 1 or 2 is not lost. The drain stands until `kubectl skein undrain`, also when this command or the
controller ends. A Migration of another name that drains the broker goes before this command.

Examples:
  kubectl skein drain i                      lead its clients to its planned substitute, and wait until it is empty
  kubectl skein drain i --to i2              to that broker
  kubectl skein drain i --timeout 10m        wait no longer; it goes on all the same
  kubectl skein drain i --abandon            give up what waits for clients that are not there
  kubectl skein drain i && kubectl delete pod i-0

Exit codes:
  0  it is empty    1  it failed, or is not done in time    2  it cannot be meant: no such broker, one that is down, ...";

pub(crate) const UNDRAIN: &str = "\
Its clients come back without loss, as they went: spec.end of Migration/drain-BROKER says so, which then stays as a record
until the next drain. A drain that is still under way is called off.

Examples:
  kubectl skein undrain i
  kubectl skein undrain i --no-wait

Exit codes:
  0  it has its clients    1  not in time    2  there is no such broker, or a Migration of another name drains it";

pub(crate) const APPROVE: &str = "\
`spec.failover.policy: Manual` lets a dead broker's clients wait until a person has them moved; so do collisions (its
clients and its substitute's would get each other's messages), unless accepted. `spec.failover.failback: Manual` lets
clients stay at the substitute until a person wants them back. Sets spec.approved of the Migration that waits, which then
holds for its way back, too. With --abandon it is spec.abandon: the loss that keeps a broker from having its clients back,
as messages wait at the substitute for a client that does not come for them.

Examples:
  kubectl skein status                       what waits is Pending (a migration) or Returning (a broker)
  kubectl skein approve i                    let it go on
  kubectl skein approve i --abandon          do not wait for clients that stay away; `abandoned` counts what they miss

Exit codes:
  0  approved    1  there is no fleet    2  nothing waits there";

pub(crate) const KUBECONFIG: &str = "\
It lets in as the ServiceAccount NAME-skein, which may read the broker's own Secret and write its own ConfigMap, and nothing
else. The address and the certificate of the API server are those of your own kubeconfig.

Examples:
  kubectl skein kubeconfig edge > edge.kubeconfig
  KUBECONFIG=edge.kubeconfig skein-operator agent --broker edge      there, as the user that Mosquitto runs as

Exit codes:
  0  printed    1  the cluster does not grant it    2  there is no such broker, or it has no agent";

pub(crate) const DEBUG: &str = "\
Custom resources and their status, events, pods and their logs, the objects by which brokers run, the controllers with
their logs, Lease and metrics. Of Secrets only keys and sizes are taken; passwords and tokens in texts are struck out. Names
of brokers, topics and clients are left as they are, unless --hide-clients is given, and so are addresses: look at it before
you give it to others. What could not be read is listed in MANIFEST.txt, and does not keep the rest from being collected.

Examples:
  kubectl skein debug -n farm
  kubectl skein debug -n farm --since 1h --hide-clients --out /tmp/farm.tar.gz

Exit codes:
  0  collected, perhaps not all    1  nothing could be, or the archive cannot be written";

pub(crate) const COMPLETIONS: &str = "\
Examples:
  kubectl skein completions bash > ~/.local/share/bash-completion/completions/kubectl-skein
  kubectl skein completions fish > ~/.config/fish/completions/kubectl-skein.fish

These complete `kubectl-skein`. For `kubectl skein`, put deploy/kubectl_complete-skein into your PATH, too: kubectl asks it.";
