//! What it costs to work on packets: group `packet`, on the simulated kernel, whose memory is as any other.
//!
//! `header push and pull` puts 20 bytes before a packet and takes them off again; `checksum` is the Internet checksum (RFC 1071)
//! over all of its bytes, as a program writes it; `multi-buffer walk` goes through the segments of packets of 9000 bytes and
//! looks at a byte of each.
#![allow(clippy::print_stdout)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use xsk::{Batch, Packet, Pool, PoolConfig, Port, PortConfig};
use xsk_sim::{DeviceConfig, SimDevice, SimKernel};

const LENGTHS: [usize; 3] = [64, 512, 1500];
const JUMBO: usize = 9000;
const HEADER: usize = 20;

fn pool(kernel: &SimKernel) -> Pool {
    Pool::new_in(kernel.backend(), PoolConfig::default().frames(256)).expect("a pool")
}

fn packet(pool: &Pool, len: usize) -> Packet {
    let mut packet = pool.packet().expect("a frame");
    packet.extend_from_slice(&vec![0xa5; len]).expect("it fits a frame");
    packet
}

/// The Internet checksum, as it goes into a header. Words of any order may be added up (RFC 1071, section 2): four bytes at once.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]);
    let mut sum: u64 = words.map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_ne_bytes()
}

/// A packet of several segments, as one is received.
fn jumbo(pool: &Pool, peer: &SimDevice) -> Batch {
    let config = PortConfig::default().multi_buffer(true).fill_level(64);
    let mut port = Port::open(pool, "a", 0, config).expect("a port");
    peer.send(&[0xa5; JUMBO]).expect("a frame of that size");
    let mut batch = Batch::new();
    assert_eq!(port.recv(&mut batch).expect("a port"), 1, "the packet came");
    batch
}

fn packets(c: &mut Criterion) {
    let kernel = SimKernel::new(1);
    let (_a, b) = kernel.veth("a", "b", &DeviceConfig::default().mtu(JUMBO as u32)).expect("a pair");
    let pool = pool(&kernel);
    // The example of RFC 1071, section 3.
    assert_eq!(checksum(&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]), [0x22, 0x0d]);
    let mut group = c.benchmark_group("packet");
    group.throughput(Throughput::Elements(1));
    let mut one = packet(&pool, 64);
    group.bench_function("header push and pull", |bench| {
        bench.iter(|| {
            let header = black_box(&mut one).push_front(HEADER).expect("headroom");
            header.fill(black_box(7));
            one.pull_front(HEADER).expect("the header");
        });
    });
    for len in LENGTHS {
        let packet = packet(&pool, len);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("checksum", len), |bench| {
            bench.iter(|| checksum(black_box(&packet)));
        });
    }
    let batch = jumbo(&pool, &b);
    let segments = batch[0].segments().count();
    println!("{JUMBO} bytes in {segments} segments");
    group.throughput(Throughput::Elements(segments as u64));
    group.bench_function(BenchmarkId::new("multi-buffer walk", JUMBO), |bench| {
        bench.iter(|| {
            black_box(&batch[0])
                .segments()
                .map(|segment| usize::from(segment[0]) + segment.len())
                .sum::<usize>()
        });
    });
    group.finish();
}

criterion_group!(all, packets);
criterion_main!(all);
