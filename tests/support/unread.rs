//! What the other end of a connection on this machine has not read yet, asked of the kernel (sock_diag(7)).
//!
//! /proc/net/tcp says the same, but walks through all connections of the machine for it, and the closed ones of a busy
//! test take it 16 ms.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Protocol, Socket, Type};

const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
/// The state of an end whose handshake is not complete (linux/tcp_states.h).
const TCP_SYN_RECV: u8 = 3;

/// Bytes that have arrived at the other end of `stream` and that nobody there has read; none while nobody knows.
pub fn bytes_at_the_other_end(stream: &TcpStream) -> Option<u32> {
    let (SocketAddr::V4(here), SocketAddr::V4(there)) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap())
    else {
        panic!("IPv4 only");
    };
    // struct inet_diag_req_v2: any state, and the other end's connection: from there to here.
    let mut question = vec![AF_INET, IPPROTO_TCP, 0, 0];
    question.extend_from_slice(&u32::MAX.to_ne_bytes());
    question.extend_from_slice(&there.port().to_be_bytes());
    question.extend_from_slice(&here.port().to_be_bytes());
    for address in [there.ip(), here.ip()] {
        question.extend_from_slice(&address.octets());
        question.extend_from_slice(&[0; 12]);
    }
    // Any interface, and no cookie.
    question.extend_from_slice(&[0; 4]);
    question.extend_from_slice(&[0xff; 8]);
    // struct nlmsghdr: length, type, flags, number, from whom.
    let length = u32::try_from(16 + question.len()).unwrap();
    let mut message = length.to_ne_bytes().to_vec();
    message.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&question);

    let protocol = Protocol::from(NETLINK_SOCK_DIAG);
    let mut kernel = Socket::new(Domain::from(AF_NETLINK), Type::DGRAM, Some(protocol)).expect("netlink");
    kernel.send(&message).expect("sock_diag");
    let mut answer = [0; 4096];
    let count = kernel.read(&mut answer).expect("sock_diag");
    // struct nlmsghdr, then struct inet_diag_msg: its second byte is the state, and 56 bytes into it is what is unread.
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    let is_found = kind == SOCK_DIAG_BY_FAMILY && count >= 76 && answer[17] != TCP_SYN_RECV;
    is_found.then(|| u32::from_ne_bytes([answer[72], answer[73], answer[74], answer[75]]))
}
