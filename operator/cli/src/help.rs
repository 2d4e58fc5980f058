//! The texts of `--help` that are longer than a line.

/// The top command's help, its commands grouped by what one wants to do.
pub(crate) fn template() -> String {
    format!(
        "{{about-with-newline}}\n{{usage-heading}} skein <COMMAND>\n\n{}\n\n\u{1b}[1m\u{1b}[32mOptions:\u{1b}[0m\n{{options}}{{after-help}}",
        [
            group(
                "Look before you run",
                &[
                    ("plan", "Show the paths, links and substitutes that a fleet gets"),
                    ("check", "Prove that each consumer gets each message exactly once"),
                    (
                        "explain",
                        "Say why: a topic's path, a broker's substitutes, a route's use"
                    ),
                    (
                        "diff",
                        "Compare two directories: their plans, or the steps between them"
                    ),
                    ("graph", "Draw routes and links as Graphviz DOT"),
                    ("render", "Write every broker's mosquitto.conf to a folder"),
                ],
            ),
            group(
                "Run a fleet on this machine",
                &[
                    ("up", "Run it and keep it healthy until Ctrl-C"),
                    ("status", "Show its brokers, paths and migrations"),
                    ("break", "Keep a broker down (or hung), to see what happens"),
                    ("mend", "Let a broken broker come back"),
                    (
                        "drain",
                        "Lead a broker's clients to another, so that it can be stopped"
                    ),
                    ("undrain", "Give a drained broker its clients back"),
                    ("approve", "Approve what waits for a person"),
                ],
            ),
            group(
                "Other",
                &[("completions", "Print a completion script for a shell")]
            ),
        ]
        .join("\n\n")
    )
}

fn group(title: &str, commands: &[(&str, &str)]) -> String {
    // clap strips the escapes where its output is no terminal.
    let mut text = format!("\u{1b}[1m\u{1b}[32m{title}:\u{1b}[0m");
    for (name, about) in commands {
        text += &format!("\n  \u{1b}[1m\u{1b}[36m{name:<12}\u{1b}[0m {about}");
    }
    text
}

pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  all is well
  1  a finding of severity error, a difference (diff --exit-code), or it could not be done
  2  bad input: arguments or manifests";

/// What `skein --help` adds: how to begin.
pub(crate) fn long() -> String {
    format!(
        "\
How to begin:
  skein plan -f deploy/samples/farm      what the fleet would get; nothing is started
  skein up -f deploy/samples/farm        run it
  skein status --watch                   in another terminal: is it well?
  skein break c                          kill a broker and see the path move

A directory of manifests declares brokers, the routes between them and the topics that must flow.
plan, check, explain, graph and render read it with -f DIR; without -f they ask the running fleet.

{EXIT_CODES}"
    )
}

pub(crate) const PLAN: &str = "\
Examples:
  skein plan -f farm                         the plan, for people
  skein plan -f farm --down c                the same with broker c dead
  skein plan -f farm --down i=i2             with i dead and i2 serving its clients
  skein plan -f farm -o json | jq .paths     for programs
  skein plan -f farm --roles                 who publishes and subscribes what, as 0 and 1

Exit codes:
  0  no finding of severity error    1  there is one    2  bad manifests";

pub(crate) const CHECK: &str = "\
It renders every broker's configuration, reads it back, and walks a message of every kind from every producer
through the lines, counting copies the way the broker does. It does not know how the plan was made.

Examples:
  skein check -f farm
  skein check -f farm --down c               is it still right with broker c dead?

Exit codes:
  0  nothing lost, doubled or looping    1  something is    2  bad manifests";

pub(crate) const EXPLAIN: &str = "\
Examples:
  skein explain topic/soil -f farm                   the paths, why they are so, and what carries them
  skein explain topic/soil --from i --to a -f farm   one path only
  skein explain broker/i -f farm                     links, substitutes, what happens if it dies
  skein explain route/a-d -f farm                    who uses it, or why nobody does

Exit codes:
  0  explained    2  bad manifests, or there is no such object";

pub(crate) const DIFF: &str = "\
With --steps: what `skein up` would do to a fleet that runs on OLD when it becomes NEW, in rounds, each
of which waits for the one before. Nothing is started: the engine is asked, and told that all went well.
Brokers count as being of the version that their manifest asks for (2.1 if none), and as having no
durable clients, whose sessions a drain moves too. A drain (a Migration) counts in both directories.

Examples:
  skein diff farm farm-new
  skein diff farm farm-new --steps             which brokers restart, what may be lost?
  skein diff farm farm-new --steps -o json | jq .summary
  skein diff --exit-code farm farm-new && echo \"no change\"

Exit codes:
  0  compared (with --exit-code: equal, or with --steps nothing to do)
  1  with --exit-code: they differ; with --steps: Skein does not get there
  2  bad manifests";

pub(crate) const GRAPH: &str = "\
Grey lines are routes with their cost, arrows are links and point the way the data goes.

Example:
  skein graph -f farm | dot -Tsvg > farm.svg";

pub(crate) const RENDER: &str = "\
Writes OUT/BROKER/mosquitto.conf. Refuses a folder that holds anything render did not write, unless --force.

Example:
  skein render out -f farm";

pub(crate) const UP: &str = "\
Starts a mosquitto process per broker and a forwarder per client address, and replaces what dies. Edits in DIR are
applied at once; a bad edit is reported and changes nothing. Ctrl-C stops all it started. Killed with -9, the fleet
goes on without it, and the next `skein up` takes it over.

Examples:
  skein up -f farm
  skein up -f farm --state /tmp/farm --mosquitto /usr/sbin/mosquitto

Exit codes:
  0  stopped by Ctrl-C    1  it could not run    2  bad manifests";

pub(crate) const STATUS: &str = "\
Examples:
  skein status
  skein status --watch
  skein status -o json | jq '.paths[] | select(.up | not)'

Exit codes:
  0  shown    1  there is no running fleet, or several and no --state";

pub(crate) const BREAK: &str = "\
Examples:
  skein break c              kill it and keep it down
  skein break c --hang       freeze it: it still accepts connections
  skein mend c               let it go on";

pub(crate) const MEND: &str = "\
Example:
  skein mend c";

pub(crate) const DRAIN: &str = "\
The sessions of its clients are opened at the other broker first; then both serve until every client has got what
waits for it, and only then the client address moves. What is acknowledged at QoS 1 or 2 is not lost. The drain
stands until `skein undrain`, also when this command or `skein up` ends. A Migration among the manifests goes before
this command.

Examples:
  skein drain i                        lead its clients to its planned substitute, and wait until it is empty
  skein drain i --to i2                to that broker
  skein drain i --timeout 10m          wait no longer; it goes on all the same
  skein drain i --abandon              give up what waits for clients that are not there
  skein drain i && skein break i       stop it once it is empty

Exit codes:
  0  it is empty    1  it failed, or is not done in time    2  it cannot be meant: no such broker, one that is down, ...";

pub(crate) const UNDRAIN: &str = "\
Its clients come back without loss, as they went. A drain that is still under way is called off.

Examples:
  skein undrain i
  skein undrain i --no-wait

Exit codes:
  0  it has its clients    1  not in time    2  there is no such broker, or a manifest drains it";

pub(crate) const APPROVE: &str = "\
`spec.failover.policy: Manual` lets a dead broker's clients wait until a person has them moved; so do collisions (its
clients and its substitute's would get each other's messages, see `skein explain broker/NAME`), unless accepted.
`spec.failover.failback: Manual` lets clients stay at the substitute until a person wants them back. An approval is of
what waits now, and of nothing that comes later. With --abandon it is of the loss that keeps a broker from having its
clients back: messages wait at the substitute for a client that does not come for them.

Examples:
  skein status                         what waits is Pending (a migration) or Returning (a broker)
  skein approve i                      let it go on
  skein approve i --abandon            do not wait for clients that stay away; `abandoned` counts what they miss

Exit codes:
  0  approved    1  there is no running fleet    2  nothing waits there";

pub(crate) const COMPLETIONS: &str = "\
Examples:
  skein completions bash > ~/.local/share/bash-completion/completions/skein
  skein completions fish > ~/.config/fish/completions/skein.fish
  skein completions zsh > \"${fpath[1]}/_skein\"";
