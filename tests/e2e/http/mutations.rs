//! Thousands of messages that are nearly right, from a fixed seed: whatever comes in, what goes out is strictly HTTP,
//! nobody waits for ever, and the gateway lives on. The readers of both ends panic on anything outside the grammar.

use crate::support::{
    Client, DEADLINE, DRIVERS, Gateway, HeavyLoad, Message, Origin, Random, proxy_to, show,
};

/// What parsers trip over.
const FRAGMENTS: [&[u8]; 28] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b"\x0b",
    b"\x7f",
    b"\xff",
    b":",
    b",",
    b";",
    b"0",
    b"5",
    b"+",
    b"-",
    b"0x",
    b"%",
    b"%2e",
    b"/../",
    b"chunked",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\n",
    b"Host: x\r\n",
    b"Connection: close\r\n",
    b"0\r\n\r\n",
    b"HTTP/1.1",
    b"\r\n\r\n",
];

/// One to three small changes: a byte lost, doubled, turned or replaced, or a fragment put in.
fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(3) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => drop(bytes.remove(at)),
            1 => bytes.insert(at, bytes[at]),
            2 => bytes[at] ^= 1 << random.below(8),
            3 => bytes.truncate(at.max(1)),
            _ => drop(bytes.splice(at..at, random.pick(&FRAGMENTS).iter().copied())),
        }
    }
    bytes
}

const REQUESTS: [&[u8]; 5] = [
    b"GET /a/b?c=d HTTP/1.1\r\nHost: test\r\nAccept: */*\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: u\r\n\r\n",
    b"PUT http://test/a/../b HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, X\r\nX: y\r\nContent-Length: 0\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n",
];

/// Reads responses, strictly, until the connection ends. Each is one that this gateway may send.
fn read_all(client: &mut Client, sent: &[u8]) {
    let until = std::time::Instant::now() + DEADLINE;
    loop {
        // HEAD cannot come out of these mutations, so the framing of every response is known.
        match client.wire().response("GET") {
            Ok(response) => assert!(matches!(response.status(), 100..=599), "{}", show(sent)),
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                panic!("no end: {error}: {}", show(sent))
            }
            Err(_) => return,
        }
        assert!(std::time::Instant::now() < until, "no end of responses to {}", show(sent));
    }
}

fn assert_unharmed(gateway: &mut Gateway) {
    assert!(gateway.is_running());
    assert_eq!(gateway.get("/after").status(), 200);
    assert_eq!(gateway.metric("ringway_panics_total", ""), 0.0);
    assert_eq!(gateway.metric("ringway_shard_restarts_total", ""), 0.0);
}

#[test]
fn mutated_requests_are_answered_strictly_or_not_at_all() {
    let _heavy = HeavyLoad::begin();
    for (seed, driver) in (1u64..).zip(DRIVERS) {
        let origin = Origin::echo();
        let mut gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
        let mut random = Random(seed);
        for _ in 0..2500 {
            let first = mutate(random.pick(&REQUESTS), &mut random);
            let bytes = [&first[..], random.pick(&REQUESTS)].concat();
            let mut client = gateway.connect().resetting();
            let cut = random.below(bytes.len());
            client.send_lossy(&bytes[..cut]).send_lossy(&bytes[cut..]);
            let _ = client.wire().finish();
            read_all(&mut client, &bytes);
        }
        assert_unharmed(&mut gateway);
        // The origin's reader was as strict, and has not panicked: see `Origin`'s drop.
        assert!(origin.requests().len() > 500, "many mutations are harmless");
        assert!(origin.requests().iter().all(is_whole));
    }
}

/// What every request that reaches an origin has, whatever the client sent.
fn is_whole(request: &Message) -> bool {
    let framed_once =
        usize::from(request.has("content-length")) + usize::from(request.has("transfer-encoding")) <= 1;
    framed_once && request.field("host").is_some() && request.start_line.ends_with(" HTTP/1.1")
}

const RESPONSES: [&[u8]; 6] = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n5;x\r\nhello\r\n0\r\nT: u\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 404 Not Found\r\nSet-Cookie: a=b\r\n\r\nuntil the close",
];

#[test]
fn mutated_responses_reach_the_client_strictly_or_not_at_all() {
    let _heavy = HeavyLoad::begin();
    for (seed, driver) in (100u64..).zip(DRIVERS) {
        let mut random = Random(seed);
        let answers: Vec<Vec<u8>> = (0..2500).map(|_| mutate(random.pick(&RESPONSES), &mut random)).collect();
        let served = answers.clone();
        let origin = Origin::new(move |peer| {
            if let Some(request) = peer.request() {
                let fine = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
                let number = request.target()[1..].parse::<usize>().ok();
                peer.send(number.map_or(&fine, |number| &served[number]));
            }
        });
        let mut gateway = Gateway::with_driver(driver, &proxy_to(&[&origin.url()]));
        for (number, answer) in answers.iter().enumerate() {
            let mut client = gateway.connect().resetting();
            client.send(format!("GET /{number} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"));
            read_all(&mut client, answer);
        }
        assert_unharmed(&mut gateway);
    }
}
