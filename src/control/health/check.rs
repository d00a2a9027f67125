//! One health check of an endpoint: a GET, and the status of its response. It blocks, for its timeout at most.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::http::head::{self, HeadScanner, RESPONSE_LIMITS, ResponseHead};
use crate::plan::HealthPlan;
use crate::upstream::EndpointAddress;

const READ_BYTES: usize = 4096;

/// Checks an endpoint once.
///
/// # Errors
/// Why it is not healthy, in a few words for `/status` and the log.
pub fn check(address: &EndpointAddress, authority: &str, plan: &HealthPlan) -> Result<(), String> {
    let deadline = Deadline(Instant::now() + plan.timeout);
    let mut socket = connect(address, &deadline)?;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: ringway-health\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        plan.path
    );
    deadline.set(&socket)?;
    socket.write_all(request.as_bytes()).map_err(|error| reason("cannot send", &error))?;
    let status = final_status(&mut socket, &deadline)?;
    if plan.status.iter().any(|range| range.contains(&status)) {
        Ok(())
    } else {
        Err(format!("status {status}"))
    }
}

fn connect(address: &EndpointAddress, deadline: &Deadline) -> Result<Socket, String> {
    let (domain, address) = match address {
        EndpointAddress::Tcp(address) => (Domain::for_address(*address), SockAddr::from(*address)),
        EndpointAddress::Unix(path) => {
            (Domain::UNIX, SockAddr::unix(path).map_err(|error| reason("cannot connect", &error))?)
        }
    };
    let connect = || {
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.connect_timeout(&address, deadline.left().unwrap_or(Duration::from_millis(1)))?;
        Ok(socket)
    };
    connect().map_err(|error| reason("cannot connect", &error))
}

/// Reads until the head of the final response is here, and returns its status.
fn final_status(socket: &mut Socket, deadline: &Deadline) -> Result<u16, String> {
    let (mut received, mut scanner, mut head) = (Vec::new(), HeadScanner::default(), ResponseHead::default());
    let mut chunk = [0; READ_BYTES];
    loop {
        while let Some(bytes) =
            scanner.scan(&received, &RESPONSE_LIMITS).map_err(|error| error.to_string())?
        {
            head::parse_response(&received[..bytes], &mut head).map_err(|error| error.to_string())?;
            if head.status() >= 200 {
                return Ok(head.status());
            }
            received.drain(..bytes);
            scanner = HeadScanner::default();
        }
        deadline.set(socket)?;
        match socket.read(&mut chunk).map_err(|error| reason("no answer", &error))? {
            0 => return Err("closed before a response".to_owned()),
            count => received.extend_from_slice(&chunk[..count]),
        }
    }
}

/// When the check has failed.
struct Deadline(Instant);

impl Deadline {
    fn left(&self) -> Option<Duration> {
        Some(self.0.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Bounds the next read or write of the socket by what is left.
    fn set(&self, socket: &Socket) -> Result<(), String> {
        let left = self.left().ok_or("no answer in time")?;
        let set = socket.set_read_timeout(Some(left)).and_then(|()| socket.set_write_timeout(Some(left)));
        set.map_err(|error| error.to_string())
    }
}

/// What went wrong, without the words that differ from kernel to kernel where it was the time.
fn reason(what: &str, error: &std::io::Error) -> String {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    match error.kind() {
        TimedOut | WouldBlock => format!("{what}: no answer in time"),
        _ => format!("{what}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::NoneHealthy;
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    fn plan(timeout: Duration) -> HealthPlan {
        HealthPlan {
            path: "/healthz?deep=1".into(),
            interval: Duration::from_secs(5),
            timeout,
            healthy: 2,
            unhealthy: 3,
            status: vec![200..=299, 304..=304],
            none_healthy: NoneHealthy::TryAll,
        }
    }

    /// The result against a server that answers `response`, and what that server has received.
    fn against(response: &'static str, timeout: Duration) -> (Result<(), String>, String) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a check");
            let mut buffer = [0; 1024];
            let count = stream.read(&mut buffer).expect("a request");
            stream.write_all(response.as_bytes()).expect("sent");
            // It goes on only once the check has ended.
            if response.is_empty() {
                while matches!(stream.read(&mut [0; 16]), Ok(1..)) {}
            }
            String::from_utf8_lossy(&buffer[..count]).into_owned()
        });
        let result = check(&EndpointAddress::Tcp(address), "users.internal", &plan(timeout));
        (result, server.join().expect("no panic"))
    }

    #[test]
    fn the_status_of_the_final_response_decides() {
        let long = Duration::from_secs(10);
        for (response, expected) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", Ok(())),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n", Ok(())),
            ("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", Err("status 503")),
            ("HTTP/1.1 200", Err("closed before a response")),
        ] {
            let (result, request) = against(response, long);
            assert_eq!(result, expected.map_err(str::to_owned), "{response}");
            assert!(
                request.starts_with("GET /healthz?deep=1 HTTP/1.1\r\nHost: users.internal\r\n"),
                "{request}"
            );
        }
    }

    #[test]
    fn silence_and_a_closed_port_are_failures() {
        let (result, _) = against("", Duration::from_millis(50));
        assert_eq!(result, Err("no answer: no answer in time".to_owned()));
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|closed| closed.local_addr());
        let closed = EndpointAddress::Tcp(port.expect("it was free"));
        let result = check(&closed, "a", &plan(Duration::from_secs(10)));
        assert!(result.is_err_and(|reason| reason.starts_with("cannot connect")));
    }
}
