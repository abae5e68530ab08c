//! From nothing to the first packet: a UMEM of 2048 frames, a socket, its place in the program's map, frames to receive into,
//! and a packet that arrives. And everything closed again, which the kernel finishes later: the next opening may wait for it.
#![allow(clippy::print_stdout)]

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use xsk_benches::drive::{Driver, flood};
use xsk_benches::place::Place;
use xsk_benches::rings::{RingTier, User};

fn setup(c: &mut Criterion) {
    let mut group = c.benchmark_group("setup");
    group.sample_size(20);
    for (name, mut place) in
        Place::veth().map(|place| ("veth", place)).into_iter().chain([("simulated", Place::simulated())])
    {
        println!("on {}", place.name);
        let queue = place.queue();
        let mut generator = RingTier::open(Arc::clone(&place.backend), Place::B, queue);
        generator.load(1, &[0; 64]);
        group.bench_function(format!("open to first packet, {name}"), |b| {
            b.iter(|| {
                let mut user = RingTier::open(Arc::clone(&place.backend), Place::A, queue);
                user.prime();
                place.lead(queue, user.socket());
                flood(&mut generator, 1);
                assert_eq!(user.receive(1), 1, "the packet is there");
            });
        });
    }
    group.finish();
}

criterion_group!(all, setup);
criterion_main!(all);
