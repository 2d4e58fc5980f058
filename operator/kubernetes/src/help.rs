//! The texts of `--help` that are longer than a line.

pub(crate) const CONTROLLER: &str = "\
Reads Brokers, NodeRoutes, Topics and Migrations, runs a pod per managed Broker, watches heartbeats, moves the clients of a
broker that dies to its substitute, and writes the status of each. A namespace is a fleet. Brokers go on without it; the
next one takes them over. Of several, one acts and the others wait, ready to take over: five seconds after it died, and at
once after it was stopped. Talks to the cluster that it runs in, or to the one of KUBECONFIG.

Examples:
  skein-operator controller --image example.org/skein:0.1.0
  skein-operator controller --namespace farm --image localhost/skein:1 --pull-policy Never

Exit codes:
  0  stopped by SIGTERM or Ctrl-C    1  it could not run, or another may act    2  bad arguments";

pub(crate) const AGENT: &str = "\
What the broker is to do comes from the Secret NAME-skein, and what it does goes to the ConfigMap NAME-skein. What
the broker writes goes to standard output. While the Kubernetes API cannot be reached the broker goes on with what
it has. SIGTERM stops the broker too.

Outside of the cluster, of a Broker with external: {control: Agent, ...}: at the address that the Broker names, as
the user whom Mosquitto runs as, with the files in /var/lib/skein, and with a KUBECONFIG of the ServiceAccount
NAME-skein. The controller asks it at port 9883 of that machine.

Examples:
  skein-operator agent --broker a --namespace fleet
  KUBECONFIG=/etc/skein/kubeconfig skein-operator agent --broker edge --namespace fleet

Exit codes:
  0  stopped by SIGTERM    1  it could not run    2  bad arguments";

pub(crate) const TEST: &str = "\
Publishes messages at QoS 1 until one arrives, and says how long it took. The topic has to be one that a Topic leads from the
one broker to the other. Nothing is left at either.

Examples:
  skein-operator test --from a.farm.svc --to b.farm.svc --topic barn/temperature
  skein-operator test --from 127.0.0.1:2001 --to 127.0.0.1:2002 --topic barn/temperature --within 10s

Exit codes:
  0  a message arrived    1  none did    2  bad arguments";
