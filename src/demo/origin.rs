//! A sample origin: a small HTTP/1.1 server that responds with what it received. One thread a connection.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::control::StartFailure;
use crate::demo::websocket;

/// Bytes and fields of a head. The gateway's own limits are lower; these are for other clients.
const MAX_HEAD_BYTES: u64 = 64 * 1024;
const MAX_HEADERS: usize = 128;
/// The longest that `/slow` waits.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Serves `listener` for the life of the process. `name` is what the responses call this origin.
///
/// # Errors
/// The thread cannot be created.
pub fn start(name: &'static str, listener: TcpListener) -> Result<(), StartFailure> {
    let body = move || {
        for stream in listener.incoming().flatten() {
            let serve = move || _ = serve(name, stream);
            // Without a thread the connection is dropped, and its client sees it close.
            let _ = thread::Builder::new().name(format!("origin-{name}")).spawn(serve);
        }
    };
    let spawned = thread::Builder::new().name(format!("origin-{name}")).spawn(body);
    spawned.map_err(|error| StartFailure::thread("origin", &error))?;
    Ok(())
}

/// A request whose body has been read, counted and dropped.
struct OriginRequest {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body_bytes: u64,
    keep_open: bool,
}

/// Serves the requests of one connection, one after the other.
fn serve(name: &str, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    while let Some(request) = read_request(&mut input, &mut out)? {
        if request.path == "/ws" && request.header("upgrade").is_some() {
            return websocket::echo(request.header("sec-websocket-key"), input, out);
        }
        respond(name, &request, &mut out)?;
        if !request.keep_open {
            return Ok(());
        }
    }
    Ok(())
}

impl OriginRequest {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }
}

/// The next request, or `None` at the end of the connection.
fn read_request(input: &mut BufReader<TcpStream>, out: &mut TcpStream) -> io::Result<Option<OriginRequest>> {
    let mut head = Vec::new();
    let mut limited = input.by_ref().take(MAX_HEAD_BYTES);
    while !head.ends_with(b"\r\n\r\n") {
        if limited.read_until(b'\n', &mut head)? == 0 {
            return if head.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    }
    let mut request = parse(&head)?;
    if request.header("expect").is_some_and(|expect| expect.eq_ignore_ascii_case("100-continue")) {
        out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let chunked = request.header("transfer-encoding").is_some();
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    request.body_bytes = if chunked { skip_chunks(input)? } else { skip(input, length)? };
    Ok(Some(request))
}

/// A whole head as a request.
fn parse(head: &[u8]) -> io::Result<OriginRequest> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut fields);
    parsed.parse(head).map_err(io::Error::other)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<_> =
        parsed.headers.iter().map(|field| (field.name.to_owned(), text(field.value))).collect();
    let target = parsed.path.unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let close = headers.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("connection") && value.to_ascii_lowercase().contains("close")
    });
    Ok(OriginRequest {
        method: parsed.method.unwrap_or("GET").to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        keep_open: parsed.version == Some(1) && !close,
        headers,
        body_bytes: 0,
    })
}

/// Reads `size` bytes of a body and drops them.
fn skip(input: &mut impl Read, size: u64) -> io::Result<u64> {
    let skipped = io::copy(&mut input.take(size), &mut io::sink())?;
    if skipped < size { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(size) }
}

/// Reads a chunked body with its trailers and drops them; returns the bytes without the framing.
fn skip_chunks(input: &mut impl BufRead) -> io::Result<u64> {
    let mut total = 0;
    loop {
        let line = read_line(input)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
        if size == 0 {
            break;
        }
        total += skip(input, size)?;
        read_line(input)?;
    }
    while !read_line(input)?.is_empty() {}
    Ok(total)
}

/// A line without its end.
fn read_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if input.take(MAX_HEAD_BYTES).read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

/// `/stream`, `/slow?ms=N` and `/status/N` are special; any other path is described with 200.
fn respond(name: &str, request: &OriginRequest, out: &mut TcpStream) -> io::Result<()> {
    let parameter = |key: &str| {
        request
            .query
            .split('&')
            .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')?.parse::<u64>().ok())
    };
    match request.path.split('/').nth(1) {
        Some("stream") => return stream(name, request, out),
        Some("slow") => {
            let wait = Duration::from_millis(parameter("ms").unwrap_or(1000)).min(MAX_WAIT);
            thread::sleep(wait);
        }
        _ => {}
    }
    let status = request.path.strip_prefix("/status/").and_then(|status| status.parse().ok());
    let status = status.filter(|status| (200..600).contains(status)).unwrap_or(200);
    let body = describe(name, request);
    let bodiless = matches!(status, 204 | 304);
    let mut response = format!("HTTP/1.1 {status} {}\r\n{}", phrase(status), common(name, request));
    if !bodiless {
        response += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    response += "\r\n";
    if !bodiless && request.method != "HEAD" {
        response += &body;
    }
    out.write_all(response.as_bytes())
}

/// The request, as the response describes it.
#[derive(Serialize)]
struct EchoedRequest<'a> {
    origin: &'a str,
    method: &'a str,
    /// With the query.
    path: String,
    headers: BTreeMap<String, String>,
    body_bytes: u64,
}

/// The response's body: the request as JSON.
fn describe(name: &str, request: &OriginRequest) -> String {
    let mut headers = BTreeMap::<_, String>::new();
    for (field, value) in &request.headers {
        let all = headers.entry(field.to_ascii_lowercase()).or_default();
        *all += if all.is_empty() { "" } else { ", " };
        *all += value;
    }
    let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    let received = EchoedRequest {
        origin: name,
        method: &request.method,
        path: format!("{}{query}", request.path),
        headers,
        body_bytes: request.body_bytes,
    };
    serde_json::to_string(&received).expect("all keys are strings and no field fails to serialize") + "\n"
}

/// Five chunks, one every 200 ms, and a trailer.
fn stream(name: &str, request: &OriginRequest, out: &mut TcpStream) -> io::Result<()> {
    const CHUNKS: usize = 5;
    let head = format!(
        "HTTP/1.1 200 OK\r\n{}Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\nTrailer: X-Chunks\r\n\r\n",
        common(name, request)
    );
    out.write_all(head.as_bytes())?;
    if request.method == "HEAD" {
        return Ok(());
    }
    for number in 1..=CHUNKS {
        let line = format!("chunk {number} of {CHUNKS} from origin {name}\n");
        out.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes())?;
        thread::sleep(Duration::from_millis(200));
    }
    out.write_all(format!("0\r\nX-Chunks: {CHUNKS}\r\n\r\n").as_bytes())
}

/// The fields of every response. `Server` is there for a route that removes it.
fn common(name: &str, request: &OriginRequest) -> String {
    let close = if request.keep_open { "" } else { "Connection: close\r\n" };
    format!("Server: ringway-demo\r\nX-Origin: {name}\r\n{close}")
}

/// The reason phrase.
fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        304 => "Not Modified",
        404 => "Not Found",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Sample",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All responses to `bytes` on one connection, on which the client then sends no more.
    fn exchange(bytes: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let server = thread::spawn(move || serve("a", listener.accept().expect("a client").0));
        let mut client = TcpStream::connect(address).expect("the listener is there");
        client.write_all(bytes.as_bytes()).expect("connected");
        client.shutdown(std::net::Shutdown::Write).expect("connected");
        let mut responses = String::new();
        client.read_to_string(&mut responses).expect("text");
        let _ = server.join().expect("no panic");
        responses
    }

    #[test]
    fn it_describes_what_it_received_and_keeps_the_connection() {
        let one = "POST /x?a=1 HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 3\r\n\r\nabc";
        let responses = exchange(&format!("{one}{one}"));
        assert_eq!(responses.matches("HTTP/1.1 200 OK").count(), 2, "{responses}");
        assert!(responses.contains(r#""body_bytes":3"#), "{responses}");
        assert!(responses.contains(r#""path":"/x?a=1""#), "{responses}");
        assert!(responses.contains(r#""x-a":"1, 2""#), "{responses}");
    }

    #[test]
    fn a_chunked_body_is_counted_without_its_framing() {
        let responses = exchange(
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n\
             3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n",
        );
        assert!(responses.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"), "{responses}");
        assert!(responses.contains(r#""body_bytes":5"#), "{responses}");
    }

    #[test]
    fn the_stream_ends_with_a_trailer() {
        let responses = exchange("GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(responses.ends_with("0\r\nX-Chunks: 5\r\n\r\n"), "{responses}");
    }

    #[test]
    fn any_status_can_be_asked_for_and_bodiless_ones_have_no_body() {
        assert!(exchange("GET /status/503 HTTP/1.1\r\nHost: h\r\n\r\n").starts_with("HTTP/1.1 503 "));
        let responses = exchange("GET /status/204 HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(responses.ends_with("\r\n\r\n") && !responses.contains("Content-Length"), "{responses}");
        assert!(exchange("GET /status/999 HTTP/1.1\r\nHost: h\r\n\r\n").starts_with("HTTP/1.1 200 "));
    }

    #[test]
    fn head_has_no_body_and_http_1_0_ends_the_connection() {
        let responses = exchange("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(responses.ends_with("\r\n\r\n"), "{responses}");
        assert!(exchange("GET / HTTP/1.0\r\n\r\n").contains("Connection: close"));
    }
}
