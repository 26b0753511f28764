//! Questions to the kernel's routing tables over netlink: links and addresses.
//!
//! A dump of all links is one system call to ask and a few to read, and has every counter of every interface.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_HEADER_BYTES: usize = 16;

/// `struct ifinfomsg` and, after it, the attribute `IFLA_EXT_MASK`.
const LINK_BODY_BYTES: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_STATS: u16 = 7;
const IFLA_IFALIAS: u16 = 20;
const IFLA_STATS64: u16 = 23;
const IFLA_EXT_MASK: u16 = 29;
/// Leaves out the counters of each interface's address families, which nobody here reads.
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;

/// `struct ifaddrmsg`.
const ADDRESS_BODY_BYTES: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// The kernel cuts its answers at 32 KiB.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The kernel answers at once; this is against waiting for ever should it not.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Counters in the order of `struct rtnl_link_stats64`, up to `rx_nohandler`.
pub(crate) const LINK_COUNTERS: usize = 24;

/// One network interface.
pub(crate) struct Link<'a> {
    pub(crate) index: u32,
    pub(crate) name: &'a [u8],
    pub(crate) alias: &'a [u8],
    /// None for an interface that has no counters.
    pub(crate) counters: Option<[u64; LINK_COUNTERS]>,
}

/// One address of an interface.
pub(crate) struct Address<'a> {
    /// Of the interface.
    pub(crate) index: u32,
    pub(crate) prefix_len: u8,
    /// Four or sixteen bytes.
    pub(crate) address: &'a [u8],
}

/// A socket that is opened at the first question, and anew after an error.
#[derive(Default)]
pub(crate) struct RouteSocket {
    socket: Option<OwnedFd>,
    sequence: u32,
    answer: Vec<u8>,
}

impl RouteSocket {
    /// Calls `each` for every interface.
    pub(crate) fn links(&mut self, mut each: impl FnMut(Link<'_>)) -> io::Result<()> {
        let mut body = [0; LINK_BODY_BYTES + 8];
        body[16..18].copy_from_slice(&8u16.to_ne_bytes());
        body[18..20].copy_from_slice(&IFLA_EXT_MASK.to_ne_bytes());
        body[20..].copy_from_slice(&RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
        self.dump(RTM_GETLINK, &body, |message| {
            if let Some(link) = parse_link(message) {
                each(link);
            }
        })
    }

    /// Calls `each` for every address of every interface.
    pub(crate) fn addresses(&mut self, mut each: impl FnMut(Address<'_>)) -> io::Result<()> {
        self.dump(RTM_GETADDR, &[0; ADDRESS_BODY_BYTES], |message| {
            if let Some(address) = parse_address(message) {
                each(address);
            }
        })
    }

    fn dump(&mut self, question: u16, body: &[u8], each: impl FnMut(&[u8])) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => open()?,
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.answer.resize(ANSWER_BYTES_MAX, 0);
        ask(&socket, question, self.sequence, body)?;
        listen(&socket, self.sequence, &mut self.answer, each)?;
        // Only a socket without an unread rest is asked again.
        self.socket = Some(socket);
        Ok(())
    }
}

fn open() -> io::Result<OwnedFd> {
    // Protocol 0 is NETLINK_ROUTE.
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
    Ok(socket)
}

fn ask(socket: &OwnedFd, question: u16, sequence: u32, body: &[u8]) -> io::Result<()> {
    let mut message = [0; NLMSG_HEADER_BYTES + LINK_BODY_BYTES + 8];
    let len = NLMSG_HEADER_BYTES + body.len();
    message[..4].copy_from_slice(&(len as u32).to_ne_bytes());
    message[4..6].copy_from_slice(&question.to_ne_bytes());
    message[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    message[8..12].copy_from_slice(&sequence.to_ne_bytes());
    message[NLMSG_HEADER_BYTES..len].copy_from_slice(body);
    let kernel = netlink::SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(socket, &message[..len], SendFlags::empty(), &kernel)?;
    Ok(())
}

/// Reads the parts of an answer until the one that says it is the last.
fn listen(socket: &OwnedFd, sequence: u32, answer: &mut [u8], mut each: impl FnMut(&[u8])) -> io::Result<()> {
    loop {
        let (len, _) = rustix::net::recv(socket, &mut *answer, RecvFlags::empty())?;
        let mut rest = &answer[..len];
        while let Some((kind, of, body)) = next_message(&mut rest) {
            match kind {
                _ if of != sequence => {}
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    let code = number_at(body, 0).unwrap_or(0);
                    return Err(io::Error::from_raw_os_error(code.cast_signed().wrapping_neg()));
                }
                _ => each(body),
            }
        }
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Kind, sequence number and body of the message that `rest` starts with.
fn next_message<'a>(rest: &mut &'a [u8]) -> Option<(u16, u32, &'a [u8])> {
    let len = number_at(rest, 0)? as usize;
    let kind = u16::from_ne_bytes(rest.get(4..6)?.try_into().ok()?);
    let sequence = number_at(rest, 8)?;
    let body = rest.get(NLMSG_HEADER_BYTES..len)?;
    *rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    Some((kind, sequence, body))
}

/// Kind and value of the attribute that `rest` starts with.
fn next_attribute<'a>(rest: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let len = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
    let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
    let value = rest.get(4..len)?;
    *rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    // The two upper bits are flags.
    Some((kind & 0x3fff, value))
}

fn parse_link(message: &[u8]) -> Option<Link<'_>> {
    let index = number_at(message, 4)?;
    let mut rest = message.get(LINK_BODY_BYTES..)?;
    let mut link = Link { index, name: &[], alias: &[], counters: None };
    let mut narrow = None;
    while let Some((kind, value)) = next_attribute(&mut rest) {
        match kind {
            IFLA_IFNAME => link.name = until_zero(value),
            IFLA_IFALIAS => link.alias = until_zero(value),
            IFLA_STATS64 => link.counters = parse_counters::<8>(value),
            IFLA_STATS => narrow = Some(value),
            _ => {}
        }
    }
    if link.counters.is_none() {
        link.counters = narrow.and_then(parse_counters::<4>);
    }
    (!link.name.is_empty()).then_some(link)
}

/// Counters of `WIDTH` bytes each. Older kernels have no `rx_nohandler`: it reads 0.
fn parse_counters<const WIDTH: usize>(value: &[u8]) -> Option<[u64; LINK_COUNTERS]> {
    let mut counters = [0; LINK_COUNTERS];
    if value.len() / WIDTH < LINK_COUNTERS - 1 {
        return None;
    }
    for (counter, bytes) in counters.iter_mut().zip(value.chunks_exact(WIDTH)) {
        *counter = match bytes.try_into() {
            Ok(bytes) => u64::from_ne_bytes(bytes),
            Err(_) => u64::from(u32::from_ne_bytes(bytes.try_into().ok()?)),
        };
    }
    Some(counters)
}

fn parse_address(message: &[u8]) -> Option<Address<'_>> {
    let prefix_len = *message.get(1)?;
    let index = number_at(message, 4)?;
    let mut rest = message.get(ADDRESS_BODY_BYTES..)?;
    let mut local = None;
    let mut peer = None;
    while let Some((kind, value)) = next_attribute(&mut rest) {
        match kind {
            IFA_LOCAL => local = Some(value),
            IFA_ADDRESS => peer = Some(value),
            _ => {}
        }
    }
    // On a point-to-point interface IFA_ADDRESS is the other end.
    Some(Address { index, prefix_len, address: local.or(peer)? })
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_kernel_answers() {
        let mut socket = RouteSocket::default();
        for _ in 0..2 {
            let mut names = Vec::new();
            socket
                .links(|link| {
                    assert!(link.counters.is_some());
                    names.push(String::from_utf8_lossy(link.name).into_owned());
                })
                .unwrap();
            assert!(names.contains(&"lo".to_owned()), "{names:?}");
            socket.addresses(|address| assert!(matches!(address.address.len(), 4 | 16))).unwrap();
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut rest = &bytes[..];
            while next_message(&mut rest).is_some() {}
            let _link = parse_link(&bytes);
            let _address = parse_address(&bytes);
        }
    }
}
