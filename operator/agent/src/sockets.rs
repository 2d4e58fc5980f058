//! The TCP sockets of a process, as the kernel tells (proc(5)): the ports it listens on, and whether it takes what arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The state of a socket that listens.
const LISTEN: &str = "0A";
/// How long a process may take to let go of a connection that was given up.
const ANSWER: Duration = Duration::from_secs(5);

/// A process's sockets at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sockets(BTreeMap<String, Socket>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Socket {
    local: SocketAddr,
    listens: bool,
    /// Bytes that the process has not read; of one that listens, connections that it has not taken.
    waiting: u64,
}

impl Sockets {
    /// None if they are not to be seen: the process is gone, or another user's.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let own: BTreeSet<String> = fs::read_dir(format!("/proc/{pid}/fd"))
            .ok()?
            .flatten()
            .filter_map(|entry| {
                let target = fs::read_link(entry.path()).ok()?;
                let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
                Some(inode.to_owned())
            })
            .collect();
        let mut sockets = BTreeMap::new();
        if !own.is_empty() {
            for table in ["tcp", "tcp6"] {
                let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
                let rows = text.lines().skip(1).filter_map(row);
                sockets.extend(rows.filter(|(inode, _)| own.contains(inode)));
            }
        }
        Some(Self(sockets))
    }

    /// The ports that the process listens on.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        self.listening().map(|address| address.port()).collect()
    }

    fn listening(&self) -> impl Iterator<Item = SocketAddr> {
        let listening = self.0.values().filter(|socket| socket.listens);
        listening.map(|socket| socket.local)
    }

    /// Whether the process takes a connection at any of its ports. It is given up at once, which whoever takes it sees
    /// (no protocol is spoken, and no certificate needed), and ends.
    pub(crate) async fn are_served(&self) -> bool {
        for address in self.listening() {
            let served = timeout(ANSWER, async {
                let mut connection = TcpStream::connect(reachable(address)).await?;
                connection.shutdown().await?;
                connection.read(&mut [0]).await
            });
            // Reset is an answer, too.
            if served.await.is_ok() {
                return true;
            }
        }
        false
    }

    /// Whether something waited at an earlier look, and the process has taken nothing of it since.
    ///
    /// Whoever serves many connections takes a little from each in turn, so one that is no better off for it tells nothing,
    /// but that none of them is does.
    fn untouched_since(&self, earlier: &Self) -> bool {
        let mut waited = earlier
            .0
            .iter()
            .filter(|(_, socket)| socket.waiting > 0)
            .peekable();
        waited.peek().is_some()
            && waited.all(|(inode, then)| {
                // One that is gone was closed by the process.
                self.0.get(inode).is_some_and(|now| now.waiting >= then.waiting)
            })
    }
}

/// A line of `/proc/net/tcp`: the inode, and the rest.
fn row(line: &str) -> Option<(String, Socket)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
    let (local, state, queues, inode) = (fields.get(1)?, fields.get(3)?, fields.get(4)?, fields.get(9)?);
    let (_, waiting) = queues.split_once(':')?;
    let socket = Socket {
        local: address(local)?,
        listens: *state == LISTEN,
        waiting: u64::from_str_radix(waiting, 16).ok()?,
    };
    Some(((*inode).to_owned(), socket))
}

/// An address as in `/proc/net/tcp` (words of four bytes each, in the machine's own order) and `/proc/net/tcp6`.
fn address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let word = |at: usize| {
        Some(
            u32::from_str_radix(words.get(at * 8..at * 8 + 8)?, 16)
                .ok()?
                .to_ne_bytes(),
        )
    };
    let ip: IpAddr = if words.len() == 8 {
        Ipv4Addr::from(word(0)?).into()
    } else {
        let bytes = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
        Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// Where to connect to who listens there.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// Tells a process that takes nothing any more, whatever keeps it: stopped, in an endless loop, waiting for a disk.
///
/// It only looks, so that the log of a broker that is well has no trace of it. A process that never takes from one connection
/// and serves all others looks the same while they are quiet: whoever means to act asks first ([`Sockets::are_served`]).
#[derive(Debug, Default)]
pub(crate) struct Stagnation {
    last: Option<Sockets>,
    looks: u32,
}

impl Stagnation {
    /// Looks once more: for how many looks in a row, this one included, nothing was taken of what waited.
    pub(crate) fn look(&mut self, pid: u32) -> u32 {
        self.compare(Sockets::of(pid))
    }

    fn compare(&mut self, now: Option<Sockets>) -> u32 {
        let stagnates = match (&self.last, &now) {
            (Some(last), Some(now)) => now.untouched_since(last),
            _ => false,
        };
        self.looks = if stagnates { self.looks + 1 } else { 0 };
        self.last = now;
        self.looks
    }

    /// Begins anew, as with another process or one that was kept from its work on purpose.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn only_its_own_listening_sockets_count() {
        let mine = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = mine.local_addr().unwrap().port();
        let client = TcpStream::connect(mine.local_addr().unwrap()).unwrap();
        let connected = client.local_addr().unwrap().port();
        let ports = Sockets::of(std::process::id()).unwrap().ports();
        assert!(ports.contains(&port));
        assert!(!ports.contains(&connected), "a connection is no listener");
        let mut other = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let of_other = Sockets::of(other.id()).unwrap().ports();
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(!of_other.contains(&port), "the port is another's");
    }

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let listening = |at: &str| {
            let listener = TcpListener::bind(at).unwrap();
            let address = listener.local_addr().unwrap();
            let sockets = Sockets::of(std::process::id()).unwrap();
            assert!(sockets.listening().any(|it| it == address), "{address}");
            reachable(address).ip().to_string()
        };
        assert_eq!(listening("127.0.0.1:0"), "127.0.0.1");
        assert_eq!(listening("127.0.0.2:0"), "127.0.0.2");
        assert_eq!(listening("0.0.0.0:0"), "127.0.0.1");
        assert_eq!(listening("[::1]:0"), "::1");
        assert_eq!(listening("[::]:0"), "::1");
        assert_eq!(address("nothing"), None);
        assert_eq!(address("0100007F:xyz"), None);
    }

    /// What waits at these sockets: inode, and how much.
    fn waiting(sockets: &[(&str, u64)]) -> Sockets {
        let socket = |waiting| Socket {
            local: ([127, 0, 0, 1], 1883).into(),
            listens: false,
            waiting,
        };
        let each = sockets
            .iter()
            .map(|(inode, bytes)| ((*inode).to_owned(), socket(*bytes)));
        Sockets(each.collect())
    }

    #[test]
    fn what_is_taken_from_any_of_them_is_work() {
        let looks = |looks: &[&[(&str, u64)]]| -> Vec<u32> {
            let mut stagnation = Stagnation::default();
            looks
                .iter()
                .map(|look| stagnation.compare(Some(waiting(look))))
                .collect()
        };
        assert_eq!(looks(&[&[("1", 0)], &[("1", 0)]]), [0, 0], "nothing waits");
        assert_eq!(
            looks(&[&[("1", 9)], &[("1", 9)], &[("1", 12), ("2", 4)]]),
            [0, 1, 2]
        );
        assert_eq!(
            looks(&[
                &[("1", 9), ("2", 4)],
                &[("1", 9), ("2", 4)],
                &[("1", 9), ("2", 3)]
            ]),
            [0, 1, 0],
            "the second was read"
        );
        assert_eq!(
            looks(&[&[("1", 9)], &[("1", 9)], &[("2", 9)], &[("2", 9)]]),
            [0, 1, 0, 1],
            "the first was closed"
        );
    }

    #[test]
    fn a_process_that_reads_is_told_from_one_that_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut taken, _) = listener.accept().unwrap();
        client.write_all(b"12345").unwrap();
        let mine = || {
            let Sockets(mut all) = Sockets::of(std::process::id()).unwrap();
            // What the tests beside this one have open is none of its business.
            let port = listener.local_addr().unwrap().port();
            all.retain(|_, socket| socket.local.port() == port);
            Some(Sockets(all))
        };
        let mut stagnation = Stagnation::default();
        assert_eq!([0, 1, 2].map(|_| stagnation.compare(mine())), [0, 1, 2]);
        taken.read_exact(&mut [0; 2]).unwrap();
        assert_eq!(stagnation.compare(mine()), 0);
        assert_eq!(stagnation.compare(mine()), 1, "it has stopped half-way");
        taken.read_exact(&mut [0; 3]).unwrap();
        assert_eq!([0, 1].map(|_| stagnation.compare(mine())), [0, 0]);
        // Nor does it take whoever connects.
        let _waits = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!([0, 1].map(|_| stagnation.compare(mine())), [0, 1]);
    }
}
