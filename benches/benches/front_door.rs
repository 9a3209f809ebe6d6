//! What a request costs between hyper and the service: the signature, the body, the answer.

use std::hint::black_box;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::Request;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http_body_util::Full;
use kms_http::{FrontDoor, measured};
use tokio::runtime::{Builder, Runtime};
use zonekms_benches::in_process::{self, NOW};

const SIZES: [usize; 3] = [32, 4096, 65_536];

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime without sockets can be built")
}

/// Requests from the head to the answer: refused for its signature, and served.
fn whole_requests(c: &mut Criterion) {
    let runtime = runtime();
    let (front_door, _running) = runtime.block_on(in_process::front_door()).expect("a zone in memory starts");
    let front_door = Arc::new(front_door);
    let signer = in_process::signer();
    let path = runtime.block_on(in_process::encrypt_path(&front_door, &signer)).expect("a key is made");
    let mut group = c.benchmark_group("request");
    for size in SIZES {
        let body = in_process::encrypt_body(size);
        group.throughput(Throughput::Bytes(body.len() as u64));
        let signed = signer.authorization("POST", &path, body.as_bytes(), NOW + 600);
        let forged = signer.authorization("POST", "/v2/zone", body.as_bytes(), NOW + 600);
        for (name, authorization) in [("encrypt", signed), ("signature refused", forged)] {
            group.bench_function(BenchmarkId::new(name, size), |b| {
                b.iter_batched(
                    || request(&path, &authorization, &body),
                    |request| runtime.block_on(respond(&front_door, request)),
                    BatchSize::SmallInput,
                );
            });
        }
    }
}

async fn respond(front_door: &FrontDoor, request: Request<Full<Bytes>>) -> u16 {
    front_door.respond(request, None).await.status().as_u16()
}

fn request(path: &str, authorization: &str, body: &str) -> Request<Full<Bytes>> {
    let request = Request::post(path).header("authorization", authorization).header("host", "localhost");
    request.body(Full::from(body.to_owned())).expect("a path and printable headers make a request")
}

/// JSON and base64 alone.
fn bodies(c: &mut Criterion) {
    let mut group = c.benchmark_group("body");
    for size in SIZES {
        let body = in_process::encrypt_body(size);
        let ciphertext = vec![0x5a; size + 61];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("read", size), |b| {
            b.iter(|| measured::read_encrypt(black_box(body.as_bytes())));
        });
        let spaced = body.replace('{', "{\"encryption-context\":null,");
        group.bench_function(BenchmarkId::new("read with care", size), |b| {
            b.iter(|| measured::read_encrypt(black_box(spaced.as_bytes())));
        });
        group.bench_function(BenchmarkId::new("write", size), |b| {
            b.iter(|| measured::write_ciphertext(black_box(&ciphertext)));
        });
        assert_eq!(measured::read_encrypt(body.as_bytes()), Some(size));
        assert_eq!(measured::write_ciphertext(&ciphertext), Some(BASE64_STANDARD.encode(&ciphertext).len() + 17));
    }
}

criterion_group!(benches, whole_requests, bodies);
criterion_main!(benches);
