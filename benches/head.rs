//! The cost of parsing a message: heads, targets and chunked bodies, heads and chunks also with httparse alone (which, for
//! chunks, reads the sizes and does not validate the bytes between them).

use std::hint::black_box;
use std::mem::MaybeUninit;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringway::http::chunked::{Chunked, encode_chunk_size};
use ringway::http::head::{HeadLimits, HeadScanner, Method, RequestHead, parse_request};
use ringway::http::path::normalise;

const LIMITS: HeadLimits = HeadLimits { bytes: 16 * 1024, count: 96 };

const WRK: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

const BROWSER: &[u8] = b"GET /api/users/42/orders?page=2&sort=created_at HTTP/1.1\r\n\
    Host: api.example.com\r\n\
    Connection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"142\", \"Not_A Brand\";v=\"24\"\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n\
    Accept: application/json, text/plain, */*\r\n\
    Origin: https://app.example.com\r\n\
    Sec-Fetch-Site: same-site\r\n\
    Sec-Fetch-Mode: cors\r\n\
    Referer: https://app.example.com/orders\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    Cookie: session=6f1d2c0b9a8e47c5b3f0; theme=dark; consent=granted\r\n\r\n";

fn heads(c: &mut Criterion) {
    for (name, head) in [("wrk", WRK), ("browser", BROWSER)] {
        let mut group = c.benchmark_group(format!("head/{name}"));
        group.throughput(Throughput::Bytes(head.len() as u64));
        group.bench_function("httparse alone", |b| {
            b.iter(|| {
                let mut slots = [const { MaybeUninit::uninit() }; 96];
                let mut request = httparse::Request::new(&mut []);
                let status = request.parse_with_uninit_headers(black_box(head), &mut slots);
                black_box((status.is_ok_and(|status| status.is_complete()), request.headers.len()))
            });
        });
        group.bench_function("scan", |b| {
            b.iter(|| HeadScanner::default().scan(black_box(head), &LIMITS));
        });
        group.bench_function("scan and parse", |b| {
            let mut parsed = RequestHead::default();
            b.iter(|| {
                let end = HeadScanner::default().scan(black_box(head), &LIMITS);
                parse_request(head, &LIMITS, &mut parsed).expect("a valid head");
                black_box((end, parsed.fields.len()))
            });
        });
        group.finish();
    }
}

fn targets(c: &mut Criterion) {
    let mut group = c.benchmark_group("normalise");
    for (name, target) in [
        ("already normal", "/api/users/42/orders?page=2&sort=created_at"),
        ("not normal", "/api/./users/%34%32/x/../orders?page=2"),
    ] {
        let mut out = Vec::new();
        group.bench_function(name, |b| {
            b.iter(|| normalise(black_box(target.as_bytes()), Method::Get, &mut out))
        });
    }
    group.finish();
}

fn chunked(c: &mut Criterion) {
    const PAYLOAD: usize = 64 * 1024;
    let mut group = c.benchmark_group("chunked 64 KiB");
    group.throughput(Throughput::Bytes(PAYLOAD as u64));
    for size in [64, 4096, PAYLOAD] {
        let mut line = [0; 18];
        let chunk = [encode_chunk_size(size, &mut line), &vec![b'x'; size][..], b"\r\n"].concat();
        let body = [&chunk.repeat(PAYLOAD / size)[..], b"0\r\n\r\n"].concat();
        group.bench_function(format!("chunks of {size}"), |b| {
            b.iter(|| {
                let mut payload = 0;
                let fed = Chunked::new(u64::MAX, 4096).feed(black_box(&body), |range| payload += range.len());
                black_box((fed, payload))
            });
        });
        group.bench_function(format!("chunks of {size}, httparse for the sizes"), |b| {
            b.iter(|| {
                let (mut rest, mut payload) = (black_box(&body[..]), 0);
                while let Ok(httparse::Status::Complete((line, size @ 1..))) =
                    httparse::parse_chunk_size(rest)
                {
                    payload += size;
                    rest = &rest[line + size as usize + 2..];
                }
                black_box(payload)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, heads, targets, chunked);
criterion_main!(benches);
