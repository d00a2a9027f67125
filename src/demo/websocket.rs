//! The sample origins' WebSocket (RFC 6455): an echo server.

use std::io::{self, Read, Write};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Bytes of the longest frame that is accepted.
const MAX_FRAME_BYTES: u64 = 1024 * 1024;

/// Accepts the upgrade and serves until the client closes. A client without a `Sec-WebSocket-Key` wants another protocol
/// than WebSocket: its bytes are echoed as they are.
pub fn echo(key: Option<&str>, mut input: impl Read, mut out: impl Write) -> io::Result<()> {
    let Some(key) = key else {
        out.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")?;
        return echo_bytes(&mut input, &mut out);
    };
    let accept = accept_of(key);
    out.write_all(
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        .as_bytes(),
    )?;
    while echo_frame(&mut input, &mut out)? {}
    Ok(())
}

/// Echoes each piece as it arrives, since the client may wait for it before it sends more.
fn echo_bytes(input: &mut impl Read, out: &mut impl Write) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(()),
            size => out.write_all(&buffer[..size])?,
        }
    }
}

/// Echoes one frame, a ping as a pong. False after a close.
fn echo_frame(input: &mut impl Read, out: &mut impl Write) -> io::Result<bool> {
    const CLOSE: u8 = 8;
    const PING: u8 = 9;
    const PONG: u8 = 10;
    let mut head = [0; 2];
    input.read_exact(&mut head)?;
    let length = match head[1] & 0x7f {
        126 => u64::from(u16::from_be_bytes(read_array(input)?)),
        127 => u64::from_be_bytes(read_array(input)?),
        short => u64::from(short),
    };
    // A client's frames must be masked (RFC 6455, 5.1).
    if head[1] & 0x80 == 0 || length > MAX_FRAME_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mask: [u8; 4] = read_array(input)?;
    let mut payload = Vec::new();
    input.take(length).read_to_end(&mut payload)?;
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    let opcode = head[0] & 0x0f;
    if opcode == PONG {
        return Ok(true);
    }
    // The first byte holds FIN and the opcode: a ping's is replaced by a pong's (5.5.3).
    let first = if opcode == PING { (head[0] & 0xf0) | PONG } else { head[0] };
    let mut frame = vec![first];
    // The server's frames are not masked; the length has 7, 16 or 64 bits (5.2).
    match payload.len() {
        size @ 0..126 => frame.push(size as u8),
        size @ 126..0x1_0000 => {
            frame.push(126);
            frame.extend((size as u16).to_be_bytes());
        }
        size => {
            frame.push(127);
            frame.extend((size as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    out.write_all(&frame)?;
    Ok(opcode != CLOSE)
}

fn read_array<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The value of `Sec-WebSocket-Accept` (RFC 6455, 4.2.2).
fn accept_of(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_is_the_one_of_the_rfc() {
        assert_eq!(accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_frame_comes_back_unmasked_a_ping_as_a_pong_and_a_close_ends_it() {
        let mut input = Vec::new();
        for opcode in [0x81_u8, 0x89, 0x88] {
            input.extend([opcode, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2]);
        }
        let mut out = Vec::new();
        echo(Some("key"), &*input, &mut out).expect("a good conversation");
        let frames = out.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        assert_eq!(&out[frames..], b"\x81\x02hi\x8a\x02hi\x88\x02hi");
    }

    #[test]
    fn long_payloads_keep_their_length() {
        let payload = vec![b'x'; 70_000];
        let mut input = vec![0x82, 0xff];
        input.extend((payload.len() as u64).to_be_bytes());
        input.extend([0; 4]);
        input.extend(&payload);
        let mut out = Vec::new();
        assert!(echo_frame(&mut &*input, &mut out).expect("whole"));
        assert_eq!(out[..2], [0x82, 127]);
        assert_eq!(out[10..], payload);
    }

    #[test]
    fn an_unmasked_or_huge_frame_ends_the_conversation() {
        assert!(echo_frame(&mut &b"\x81\x02hi"[..], &mut Vec::new()).is_err());
        assert!(echo_frame(&mut &b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..], &mut Vec::new()).is_err());
    }

    #[test]
    fn another_protocol_gets_its_bytes_back() {
        let mut out = Vec::new();
        echo(None, &b"ping"[..], &mut out).expect("a good conversation");
        assert!(out.ends_with(b"\r\n\r\nping"));
    }
}
