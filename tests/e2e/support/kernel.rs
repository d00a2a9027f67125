//! What the kernel knows of a TCP connection, asked from outside the process that has it.

use std::io::{self, Read};
use std::net::SocketAddrV4;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// `linux/netlink.h`, `linux/sock_diag.h`, `linux/inet_diag.h`.
const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
/// Where `idiag_rqueue` stands in an answer: behind `nlmsghdr`, four bytes, `inet_diag_sockid` and `idiag_expires`.
const RQUEUE_AT: usize = 16 + 4 + 48 + 4;

/// Whether the socket with this address of its own, connected to `peer`, has nothing left to read, or is gone.
pub fn receive_queue_is_empty(own: &SockAddr, peer: &SockAddr) -> bool {
    match unread_bytes(ipv4(own), ipv4(peer)) {
        Ok(bytes) => bytes.unwrap_or(0) == 0,
        // Not every kernel answers such questions; every one has the table, which is slow with thousands of rows.
        Err(_) => is_empty_by_the_table(own, peer),
    }
}

/// How many bytes the process behind a socket has not read yet; `None` if there is no such socket.
fn unread_bytes(own: SocketAddrV4, peer: SocketAddrV4) -> io::Result<Option<u32>> {
    let mut netlink =
        Socket::new(Domain::from(AF_NETLINK), Type::DGRAM, Some(Protocol::from(NETLINK_SOCK_DIAG)))?;
    netlink.send(&question(own, peer))?;
    let mut answer = [0; 1024];
    let size = netlink.read(&mut answer)?;
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    Ok((kind == SOCK_DIAG_BY_FAMILY && size >= RQUEUE_AT + 4).then(|| {
        let bytes = [0, 1, 2, 3].map(|at| answer[RQUEUE_AT + at]);
        u32::from_ne_bytes(bytes)
    }))
}

/// A `nlmsghdr` and an `inet_diag_req_v2` for exactly one socket.
fn question(own: SocketAddrV4, peer: SocketAddrV4) -> Vec<u8> {
    const LENGTH: u32 = 16 + 56;
    let address = |address: SocketAddrV4| [&address.ip().octets()[..], &[0; 12]].concat();
    [
        &LENGTH.to_ne_bytes()[..],
        &SOCK_DIAG_BY_FAMILY.to_ne_bytes(),
        &NLM_F_REQUEST.to_ne_bytes(),
        &[0; 8],
        &[AF_INET, IPPROTO_TCP, 0, 0],
        // Of any state.
        &[0xff; 4],
        &own.port().to_be_bytes(),
        &peer.port().to_be_bytes(),
        &address(own),
        &address(peer),
        // On any interface.
        &[0; 4],
        // INET_DIAG_NOCOOKIE.
        &[0xff; 8],
    ]
    .concat()
}

fn is_empty_by_the_table(own: &SockAddr, peer: &SockAddr) -> bool {
    let row = format!("{} {}", table_form(own), table_form(peer));
    let table = table();
    let Some(line) = table.lines().find(|line| line.contains(&row)) else { return true };
    let queues = line.split_whitespace().nth(4).expect("tx_queue:rx_queue is the fifth column");
    queues.ends_with(":00000000")
}

/// Whether any socket of this machine believes in an open connection to that address.
pub fn has_established_to(address: &SockAddr) -> bool {
    const ESTABLISHED: &str = "01";
    table().contains(&format!("{} {ESTABLISHED} ", table_form(address)))
}

fn table() -> String {
    std::fs::read_to_string("/proc/net/tcp").expect("Linux has this table")
}

/// An address and port as they stand in `/proc/net/tcp`.
fn table_form(address: &SockAddr) -> String {
    let address = ipv4(address);
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}

fn ipv4(address: &SockAddr) -> SocketAddrV4 {
    address.as_socket_ipv4().expect("an IPv4 connection")
}
