//! Bytes between two connections, both ways.
//!
//! All connections of a forwarder share one buffer (it runs on one thread), so that thousands of idle ones cost nothing;
//! only what a slow receiver did not take is kept per connection, and no more is read until it is gone.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::time::Duration;

use rustix::net::Shutdown;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The size of the shared buffer.
const BUFFER: usize = 64 << 10;
/// How long a client may go on sending to a broker that has nothing more to say.
const LINGER: Duration = Duration::from_secs(5);

thread_local! {
    static SHARED: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// Copies until both sides are at their end. A side that ends its half ends it at the other side too, while the other
/// half goes on: for ever towards a client, for [`LINGER`] from one, which may have vanished without a word.
///
/// # Errors
/// As soon as either connection breaks.
pub(crate) async fn relay(client: &TcpStream, broker: &TcpStream) -> io::Result<()> {
    let (up, down) = (copy(client, broker), copy(broker, client));
    tokio::pin!(up, down);
    tokio::select! {
        ended = &mut up => {
            ended?;
            down.await
        }
        ended = &mut down => {
            ended?;
            timeout(LINGER, up).await.unwrap_or(Ok(()))
        }
    }
}

async fn copy(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    loop {
        from.readable().await?;
        match pass(from, to) {
            Ok(ControlFlow::Continue(None)) => {}
            Ok(ControlFlow::Continue(Some(rest))) => write_all(to, &rest).await?,
            Ok(ControlFlow::Break(())) => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        // One busy connection must not starve the others.
        tokio::task::consume_budget().await;
    }
    match rustix::net::shutdown(to, Shutdown::Write) {
        // The other side was quicker.
        Ok(()) | Err(rustix::io::Errno::NOTCONN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Passes on what can be read now: what the receiver did not take, or `Break` at the end.
fn pass(from: &TcpStream, to: &TcpStream) -> io::Result<ControlFlow<(), Option<Vec<u8>>>> {
    SHARED.with_borrow_mut(|buffer| {
        let count = from.try_read(buffer)?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return Ok(ControlFlow::Break(()));
        };
        let written = match to.try_write(bytes) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        let rest = bytes
            .get(written..)
            .filter(|rest| !rest.is_empty())
            .map(<[u8]>::to_vec);
        Ok(ControlFlow::Continue(rest))
    })
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
