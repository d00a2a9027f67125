//! The bytes of one admin connection: a bounded head in, a body discarded, a response out.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use monoio::time::{Instant, timeout, timeout_at};
use monoio_codec::{Decoded, Decoder};
use monoio_http::common::request::RequestHead;
use monoio_http::h1::codec::decoder::RequestHeadDecoder;

use crate::control::admin::response::AdminResponse;
use crate::http::head::{HeadError, HeadLimits, HeadScanner};

const LIMITS: HeadLimits = HeadLimits { bytes: 8 * 1024, count: 64 };
/// For a head from its first byte to its last, for a body, and for a response.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(5);
/// Bodies mean nothing here. One of up to so many bytes is read and dropped, so that the connection can stay open.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// How long a closed connection is still read from.
const LINGER: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 4096;

/// A connection between two requests.
pub struct AdminConnection {
    stream: TcpStream,
    /// Bytes that were read and not yet used.
    buffer: BytesMut,
}

impl AdminConnection {
    pub fn new(stream: TcpStream) -> AdminConnection {
        AdminConnection { stream, buffer: BytesMut::new() }
    }

    /// The next head, whose first byte may take `idle`. `Ok(None)`: the client has gone or sends nothing.
    ///
    /// # Errors
    /// The response to send before the connection is closed.
    pub async fn head(&mut self, idle: Duration) -> Result<Option<RequestHead>, AdminResponse> {
        let mut scanner = HeadScanner::default();
        let mut deadline = Instant::now() + if self.buffer.is_empty() { idle } else { TRANSFER_TIMEOUT };
        loop {
            if let Some(size) = scanner.scan(&self.buffer, &LIMITS).map_err(refusal)? {
                return decode(self.buffer.split_to(size)).map(Some);
            }
            let first = self.buffer.is_empty();
            match timeout_at(deadline, self.fill()).await {
                Ok(Ok(size)) if size > 0 => {}
                Err(_) if !first => {
                    return Err(AdminResponse::problem(
                        408,
                        "request_timeout",
                        "the head did not come in time",
                    ));
                }
                _ => return Ok(None),
            }
            // From the first byte on, the rest of the head has a time of its own.
            if first {
                deadline = Instant::now() + TRANSFER_TIMEOUT;
            }
        }
    }

    /// Reads a body and drops it. False: it is too long, of unknown length or slow, and the connection must be closed.
    pub async fn discard_body(&mut self, head: &RequestHead) -> bool {
        let Some(size) = body_size(head) else { return false };
        let deadline = Instant::now() + TRANSFER_TIMEOUT;
        while self.buffer.len() < size {
            match timeout_at(deadline, self.fill()).await {
                Ok(Ok(read)) if read > 0 => {}
                _ => return false,
            }
        }
        let _ = self.buffer.split_to(size);
        true
    }

    /// Sends a whole response.
    pub async fn send(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        let sent = timeout(TRANSFER_TIMEOUT, self.stream.write_all(bytes)).await;
        sent.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.0.map(drop)
    }

    /// Closes the connection so that the peer can read the response (RFC 9112, 9.6): were it closed at once, data that
    /// the peer still sends would cause a reset, which may discard the response.
    pub async fn close(mut self) {
        let _ = self.stream.shutdown().await;
        let drain = async {
            let mut read = 0;
            while read < MAX_BODY_BYTES {
                match self.fill().await {
                    Ok(size) if size > 0 => read += size,
                    _ => return,
                }
                self.buffer.clear();
            }
        };
        let _ = timeout(LINGER, drain).await;
    }

    /// Reads more bytes; 0 is the end of the connection.
    async fn fill(&mut self) -> io::Result<usize> {
        let (result, chunk) = self.stream.read(vec![0; READ_BYTES]).await;
        let size = result?;
        self.buffer.extend_from_slice(&chunk[..size]);
        Ok(size)
    }
}

/// The response to a head that breaks the grammar or a limit.
fn refusal(error: HeadError) -> AdminResponse {
    let (status, reason) = match error {
        HeadError::Bad(_) => (400, "bad_request"),
        HeadError::UriTooLong => (414, "uri_too_long"),
        HeadError::TooLarge(_) => (431, "headers_too_large"),
    };
    AdminResponse::problem(status, reason, error.detail())
}

/// Decodes one whole head, which the scanner has bounded and checked more strictly than the decoder would.
fn decode(mut head: BytesMut) -> Result<RequestHead, AdminResponse> {
    match RequestHeadDecoder.decode(&mut head) {
        Ok(Decoded::Some(head)) => Ok(head),
        _ => Err(AdminResponse::problem(400, "bad_request", "this is no HTTP/1 request")),
    }
}

/// The length of the body; `None` if it is unknown or too long to be read and dropped.
fn body_size(head: &RequestHead) -> Option<usize> {
    if head.headers.contains_key("transfer-encoding") || head.headers.contains_key("expect") {
        return None;
    }
    let mut lengths = head.headers.get_all("content-length").iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => Some(0),
        (Some(length), None) => {
            let digits = length.as_bytes();
            let number = digits.iter().all(u8::is_ascii_digit).then(|| length.to_str().ok()?.parse().ok())?;
            number.filter(|size| *size <= MAX_BODY_BYTES)
        }
        (Some(_), Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(fields: &str) -> RequestHead {
        let text = format!("POST /reload HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        decode(BytesMut::from(text.as_bytes())).expect("a head")
    }

    #[test]
    fn a_body_of_known_and_small_length_can_be_discarded() {
        assert_eq!(body_size(&parsed("")), Some(0));
        assert_eq!(body_size(&parsed("Content-Length: 17\r\n")), Some(17));
    }

    #[test]
    fn a_body_of_another_kind_ends_the_connection() {
        for fields in [
            "Content-Length: 999999\r\n",
            "Content-Length: 99999999999999999999999\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nExpect: 100-continue\r\n",
        ] {
            assert_eq!(body_size(&parsed(fields)), None, "{fields:?}");
        }
    }

    #[test]
    fn what_is_no_request_is_a_400() {
        for head in ["GET\r\n\r\n", "GET / HTTP/3\r\n\r\n", "GET / HTTP/1.1\r\na b: c\r\n\r\n"] {
            assert_eq!(decode(BytesMut::from(head)).expect_err(head).status, 400, "{head:?}");
        }
    }
}
