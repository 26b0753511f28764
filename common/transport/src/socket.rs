//! How endpoints sleep: woken when something has come or is due, and not otherwise.
//!
//! - An ordinary tokio socket listens for room to send as well. The kernel then wakes it whenever it has sent a datagram
//!   away, which is once for each datagram of an agent that sends one a second. Here that is waited for only when there
//!   was no room.
//! - An ordinary tokio timer that is set to a later time wakes the process at the earlier time too, to find that it has
//!   nothing to do. QUIC sets its timer to a loss with each datagram, and to a later time with each acknowledgement.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Sleep, sleep_until};

/// Tokio, but for the sockets.
#[derive(Debug)]
pub(crate) struct QuietRuntime;

impl Runtime for QuietRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(QuietTimer { sleep: Box::pin(sleep_until(at.into())) })
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        TokioRuntime.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let state = UdpSocketState::new((&socket).into())?;
        let socket = register(socket, Interest::READABLE)?;
        Ok(Arc::new(QuietSocket { socket, state, is_full: AtomicBool::new(false) }))
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

#[derive(Debug)]
struct QuietTimer {
    sleep: Pin<Box<Sleep>>,
}

impl AsyncTimer for QuietTimer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        // Dropped rather than reset, which is what makes the runtime forget the earlier time.
        self.sleep.set(sleep_until(at.into()));
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Future::poll(self.sleep.as_mut(), context)
    }
}

#[derive(Debug)]
struct QuietSocket {
    /// Registered for reading alone.
    socket: AsyncFd<UdpSocket>,
    state: UdpSocketState,
    /// There was no room to send, and none has been seen since.
    is_full: AtomicBool,
}

impl AsyncUdpSocket for QuietSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(RoomToSend { socket: self, waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.state.send(self.socket.get_ref().into(), transmit);
        if sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.is_full.store(true, Ordering::Relaxed);
        }
        sent
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(context))?;
            let received = guard.try_io(|socket| self.state.recv(socket.get_ref().into(), buffers, meta));
            let Ok(received) = received else { continue };
            if received.as_ref().is_ok_and(|count| *count < buffers.len()) {
                // Fewer than there was room for: the queue was empty, and what comes from now on wakes anew.
                guard.clear_ready();
            }
            return Poll::Ready(received);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// Waits for room to send, on a descriptor of its own that is registered only so long.
struct RoomToSend {
    socket: Arc<QuietSocket>,
    waiting: Option<AsyncFd<UdpSocket>>,
}

impl UdpPoller for RoomToSend {
    fn poll_writable(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.socket.is_full.load(Ordering::Relaxed) {
            self.waiting = None;
            return Poll::Ready(Ok(()));
        }
        let waiting = match self.waiting.take() {
            Some(waiting) => waiting,
            None => register(self.socket.socket.get_ref().try_clone()?, Interest::WRITABLE)?,
        };
        match waiting.poll_write_ready(context) {
            Poll::Ready(room) => {
                self.socket.is_full.store(false, Ordering::Relaxed);
                Poll::Ready(room.map(drop))
            }
            Poll::Pending => {
                self.waiting = Some(waiting);
                Poll::Pending
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "the function that takes its place is unsafe, for the sake of types that change their descriptor, as a \
              socket of the standard library never does"
)]
fn register(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    AsyncFd::with_interest(socket, interest)
}

impl fmt::Debug for RoomToSend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RoomToSend").field("waiting", &self.waiting.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::Ipv4Addr;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    use super::*;

    fn socket() -> Arc<dyn AsyncUdpSocket> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        QuietRuntime.wrap_udp_socket(socket).expect("a socket")
    }

    fn send(from: &dyn AsyncUdpSocket, to: SocketAddr, contents: &[u8]) {
        let transmit = Transmit { destination: to, ecn: None, contents, segment_size: None, src_ip: None };
        from.try_send(&transmit).expect("room to send");
    }

    async fn receive(socket: &dyn AsyncUdpSocket, datagrams: usize) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while all.len() < datagrams {
            let mut bytes = vec![[0; 65_536]; 4];
            let mut meta = [RecvMeta::default(); 4];
            let count = poll_fn(|context| {
                let mut buffers: Vec<_> = bytes.iter_mut().map(|bytes| IoSliceMut::new(bytes)).collect();
                socket.poll_recv(context, &mut buffers, &mut meta)
            });
            let count = count.await.expect("datagrams");
            for (bytes, meta) in bytes.iter().zip(meta).take(count) {
                all.extend(bytes[..meta.len].chunks(meta.stride).map(<[u8]>::to_vec));
            }
        }
        all
    }

    #[tokio::test]
    async fn everything_is_received_however_it_comes() {
        let (one, other) = (socket(), socket());
        let to = other.local_addr().expect("an address");
        // Fewer than a read takes, as many, and more; each time the reader slept before.
        for datagrams in [1, 3, 4, 5, 11, 1] {
            let reader = tokio::spawn({
                let other = Arc::clone(&other);
                async move { receive(&*other, datagrams).await }
            });
            tokio::task::yield_now().await;
            let sent: Vec<Vec<u8>> = (0..datagrams).map(|number| vec![number as u8; 100 + number]).collect();
            for contents in &sent {
                send(&*one, to, contents);
            }
            assert_eq!(reader.await.expect("no panic"), sent);
        }
    }

    #[tokio::test]
    async fn a_timer_goes_off_when_it_was_set_to_last() {
        let start = QuietRuntime.now();
        let mut timer = QuietRuntime.new_timer(start + Duration::from_secs(3600));
        for after in [Duration::from_millis(2), Duration::ZERO, Duration::from_millis(3)] {
            timer.as_mut().reset(start + after);
            poll_fn(|context| timer.as_mut().poll(context)).await;
            assert!(QuietRuntime.now() >= start + after);
        }
        timer.as_mut().reset(start + Duration::from_millis(1));
        timer.as_mut().reset(start + Duration::from_secs(3600));
        let waited =
            tokio::time::timeout(Duration::from_millis(20), poll_fn(|context| timer.as_mut().poll(context)));
        assert!(waited.await.is_err(), "went off at the time set before");
    }

    /// A unix socket stands in for the network card: its queue fills up, which that of a loopback device never does.
    #[tokio::test]
    async fn a_full_socket_is_waited_for() {
        let (ours, theirs) = UnixDatagram::pair().expect("a pair");
        ours.set_nonblocking(true).expect("an option");
        let fill = || while ours.send(&[0; 1000]).is_ok() {};
        let socket = QuietSocket {
            socket: register(OwnedFd::from(ours.try_clone().expect("a copy")).into(), Interest::READABLE)
                .expect("registers"),
            state: UdpSocketState::new(
                (&UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket")).into(),
            )
            .expect("options"),
            is_full: AtomicBool::new(false),
        };
        let socket = Arc::new(socket);
        let mut poller = Arc::clone(&socket).create_io_poller();
        for _ in 0..3 {
            fill();
            // Nobody has been refused yet.
            poll_fn(|context| poller.as_mut().poll_writable(context)).await.expect("room");
            socket.is_full.store(true, Ordering::Relaxed);
            let is_room =
                poll_fn(|context| Poll::Ready(poller.as_mut().poll_writable(context).is_ready())).await;
            assert!(!is_room, "room in a full queue");
            let reader = theirs.try_clone().expect("a copy");
            let drain = tokio::task::spawn_blocking(move || {
                reader.set_nonblocking(true).expect("an option");
                while reader.recv(&mut [0; 1000]).is_ok() {}
            });
            poll_fn(|context| poller.as_mut().poll_writable(context)).await.expect("room");
            assert!(!socket.is_full.load(Ordering::Relaxed));
            drain.await.expect("no panic");
        }
    }
}
