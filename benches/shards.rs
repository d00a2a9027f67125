//! The whole gateway as a child process with 1, 2 and 4 shards under the same load: requests per
//! second by shard count, proxied (`proxy`) and answered by itself (`respond`).
//!
//! The load and the origin run on the same machine. Where it has few cores they compete with the
//! shards, and the figures say little about scaling: on two cores, more shards than one only share
//! what the load leaves. Read the ratios on a machine with at least three times as many cores as shards.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SHARDS: [usize; 3] = [1, 2, 4];
const CLIENTS: usize = 32;
const REQUESTS_PER_CLIENT: usize = 100;
const REQUEST: &[u8] = b"GET /bench HTTP/1.1\r\nHost: bench.test\r\nAccept: */*\r\n\r\n";
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, bench\n";

/// A gateway that is killed when the benchmark is done with it.
struct Gateway {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Gateway {
    fn start(shards: usize, route: &str) -> Gateway {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("gateway.toml");
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nshards = {shards}\n[log]\naccess = \"off\"\n{route}\n"
        );
        std::fs::write(&file, config).expect("the configuration is written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args(["run", "--config"])
            .arg(&file)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the gateway starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the gateway says where it listens");
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
        let address = address.and_then(|text| text.trim().parse().ok());
        Gateway { address: address.unwrap_or_else(|| panic!("no address in {line:?}")), child, _dir: dir }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An origin with a thread per connection, each answering every head with the same bytes.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || answer_all(connection));
        }
    });
    address
}

fn answer_all(mut connection: TcpStream) {
    let _ = connection.set_nodelay(true);
    let mut room = [0; 4096];
    let mut filled = 0;
    while let Ok(read @ 1..) = connection.read(&mut room[filled..]) {
        filled += read;
        if room[..filled].ends_with(b"\r\n\r\n") {
            filled = 0;
            if connection.write_all(ANSWER).is_err() {
                return;
            }
        }
    }
}

/// One client's share of the load, on a connection that stays open.
fn drive(connection: &mut TcpStream) {
    let mut room = [0; 4096];
    for _ in 0..REQUESTS_PER_CLIENT {
        connection.write_all(REQUEST).expect("the gateway takes the request");
        let mut answer = Vec::new();
        while !answer.ends_with(b"Hello, bench\n") {
            let read = connection.read(&mut room).expect("the gateway answers");
            assert!(read > 0, "the gateway closed: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&room[..read]);
        }
    }
}

fn shards(criterion: &mut Criterion) {
    let proxy = format!(
        "[upstream.origin]\ntargets = [\"http://{}\"]\n[[route]]\npath = \"/*\"\nupstream = \"origin\"",
        origin()
    );
    let respond = "[[route]]\npath = \"/*\"\nrespond = { body = \"Hello, bench\\n\" }";
    let mut group = criterion.benchmark_group("shards");
    group.sample_size(10).measurement_time(Duration::from_secs(4));
    group.throughput(Throughput::Elements((CLIENTS * REQUESTS_PER_CLIENT) as u64));
    for (name, route) in [("proxy", proxy.as_str()), ("respond", respond)] {
        for shards in SHARDS {
            let gateway = Gateway::start(shards, route);
            let mut clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let client = TcpStream::connect(gateway.address).expect("the gateway accepts");
                    client.set_nodelay(true).expect("a fresh socket");
                    client
                })
                .collect();
            group.bench_function(BenchmarkId::new(name, shards), |bencher| {
                bencher.iter(|| {
                    thread::scope(|scope| {
                        clients.iter_mut().for_each(|client| drop(scope.spawn(|| drive(client))));
                    });
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, shards);
criterion_main!(benches);
