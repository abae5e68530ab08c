//! How the cost of a packet grows: with the ring, the number of frames, the batch, queues and threads. Draws plots.
//!
//! ```sh
//! cargo bench -p xsk-benches --bench scaling -- --plots docs/plots
//! ```
//!
//! Without `--plots` they go to `target/plots`. The costs of rings are on the simulated kernel's, whose halves the benchmark
//! moves; those of frames, queues and threads are of packets sent on a veth pair, and need root.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use xsk::backend::Backend;
use xsk::{Batch, Pool, PoolConfig, Port, PortConfig};
use xsk_benches::choice::Mode;
use xsk_benches::counterpart::Counterpart;
use xsk_benches::drive::{Driver, flood};
use xsk_benches::place::{Place, Target};
use xsk_benches::plot::{Plot, machine};
use xsk_benches::race::processor_time;
use xsk_benches::rings::{RingTier, Shape, User, simulated_ring_tier, step};
use xsk_sim::{DeviceConfig, SimKernel};

/// What is measured once, and how often: the median counts.
const LAPS: usize = 21;
const BATCH: u32 = 64;
const LEN: usize = 64;

/// How thorough.
#[derive(Clone, Copy)]
struct Pace {
    laps: usize,
    turn: Duration,
}

type Points = Vec<(u32, f64)>;

/// Nanoseconds of processor time for each of the packets that `round` moves: of each of several things, in turns.
fn costs<'a>(mut rounds: Vec<(u32, Box<dyn FnMut() -> u32 + 'a>)>, pace: Pace) -> Points {
    let mut times = vec![Vec::new(); rounds.len()];
    for _ in 0..pace.laps {
        for ((_, round), times) in rounds.iter_mut().zip(&mut times) {
            let (start, mut packets) = (processor_time(), 0_u64);
            let time = loop {
                for _ in 0..8 {
                    packets += u64::from(round());
                }
                let time = processor_time().saturating_sub(start);
                if time >= pace.turn {
                    break time;
                }
            };
            times.push(time.as_nanos() as f64 / packets as f64);
        }
    }
    let medians = times.into_iter().map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    rounds.iter().map(|(x, _)| *x).zip(medians).collect()
}

fn simulated() -> Arc<dyn Backend> {
    let kernel = SimKernel::new(1);
    kernel.veth("a", "b", &DeviceConfig::default()).expect("a pair");
    kernel.backend()
}

fn ring_sizes(pace: Pace) -> Points {
    let sizes = (6..=15).map(|power| 1 << power);
    let rounds = sizes.map(|entries| {
        let backend = simulated();
        let place = Target { interface: "a", queue: 0, mode: Mode::VETH };
        let mut user = RingTier::open_as(Arc::clone(&backend), place, Shape { entries, ..Shape::default() });
        let mut kernel = Counterpart::of_size(&*backend, user.socket(), entries);
        let round: Box<dyn FnMut() -> u32> =
            Box::new(move || step(&mut user, &mut kernel, BATCH.min(entries)));
        (entries, round)
    });
    costs(rounds.collect(), pace)
}

fn batches(pace: Pace) -> Points {
    let rounds = (0..=8).map(|power| {
        let (mut user, mut kernel) = simulated_ring_tier();
        let round: Box<dyn FnMut() -> u32> = Box::new(move || step(&mut user, &mut kernel, 1 << power));
        (1 << power, round)
    });
    costs(rounds.collect(), pace)
}

/// The sockets of a forward loop that serves several queues, one after the other.
fn queues(pace: Pace) -> Points {
    let rounds = (0..=5).map(|power| {
        let mut pairs: Vec<_> = (0..1 << power).map(|_| simulated_ring_tier()).collect();
        let round: Box<dyn FnMut() -> u32> =
            Box::new(move || pairs.iter_mut().map(|(user, kernel)| step(user, kernel, BATCH)).sum());
        (1 << power, round)
    });
    costs(rounds.collect(), pace)
}

/// Packets written and sent, whose frames come out of a port's pool: what came back last goes out first.
fn pool_frames(place: &mut Place, counts: &[u32], pace: Pace) -> Points {
    let rounds = counts.iter().map(|frames| {
        let queue = place.queue();
        let config = PoolConfig::default().frames(*frames + 16);
        let pool = Pool::new_in(Arc::clone(&place.backend), config).expect("a pool");
        let config = PortConfig::default().fill_level(16).no_program();
        let mut port = Port::open(&pool, place.target(queue).interface, queue, config).expect("a port");
        let mut batch = Batch::new();
        let round: Box<dyn FnMut() -> u32> = Box::new(move || {
            let count = port.packets(&mut batch);
            for packet in &mut *batch {
                packet.extend_from_slice(&[0xff; 1500]).expect("room");
            }
            assert_eq!(port.send(&mut batch).expect("a port"), count);
            while port.flush().expect("a port") > 0 {}
            count as u32
        });
        (*frames, round)
    });
    costs(rounds.collect(), pace)
}

/// The same, where each frame has its turn.
fn rotated_frames(place: &mut Place, counts: &[u32], pace: Pace) -> Points {
    let rounds = counts.iter().map(|frames| {
        let queue = place.queue();
        let shape = Shape { frames: *frames, tx_budget: Some(BATCH), ..Shape::default() };
        let mut user = RingTier::open_as(Arc::clone(&place.backend), place.target(queue), shape);
        let mut at = 0;
        let round: Box<dyn FnMut() -> u32> = Box::new(move || {
            user.load_at(at, BATCH, &[0xff; 1500]);
            at = (at + BATCH as usize) % *frames as usize;
            flood(&mut user, BATCH).packets
        });
        (*frames, round)
    });
    costs(rounds.collect(), pace)
}

/// What a packet costs that one of so many threads sends, each on a queue of its own: nanoseconds of its thread's processor time.
fn threads(place: &mut Place, pace: Pace) -> Points {
    (0..=2)
        .map(|power| {
            let count = 1 << power;
            let users: Vec<_> = (0..count)
                .map(|_| {
                    let queue = place.queue();
                    let shape = Shape { tx_budget: Some(BATCH), ..Shape::default() };
                    let mut user = RingTier::open_as(Arc::clone(&place.backend), place.target(queue), shape);
                    user.load(BATCH, &[0xff; LEN]);
                    user
                })
                .collect();
            (count, together(users, pace))
        })
        .collect()
}

fn together(users: Vec<RingTier>, pace: Pace) -> f64 {
    let barrier = Barrier::new(users.len());
    let count = users.len() as f64;
    let time = pace.turn * pace.laps as u32 * 4;
    let costs = thread::scope(|scope| {
        let handles: Vec<_> = users
            .into_iter()
            .map(|mut user| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    let (start, used, mut packets) = (Instant::now(), processor_time(), 0_u64);
                    while packets == 0 || start.elapsed() < time {
                        packets += u64::from(flood(&mut user, BATCH).packets);
                    }
                    processor_time().saturating_sub(used).as_nanos() as f64 / packets as f64
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().expect("a thread")).collect::<Vec<_>>()
    });
    costs.iter().sum::<f64>() / count
}

/// The user's half on this thread and the kernel's on another: nanoseconds for a packet, of real time, at its best.
fn two_threads(pace: Pace) -> Points {
    let mut points = Vec::new();
    for batch in [16, 64, 256] {
        let (mut user, mut kernel) = simulated_ring_tier();
        let mut best = f64::INFINITY;
        for _ in 0..pace.laps * 10 {
            let wanted = if pace.turn.is_zero() { 1 } else { 20_000 };
            let stop = &AtomicBool::new(false);
            let taken = thread::scope(|scope| {
                let kernel = &mut kernel;
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        if kernel.turn() == 0 {
                            std::hint::spin_loop();
                        }
                    }
                });
                // Frames for the kernel to receive into.
                let _ = user.refill(256);
                let (start, mut packets) = (Instant::now(), 0);
                while packets < wanted {
                    let received = user.receive(batch);
                    let sent = user.transmit(received);
                    let done = user.complete(batch);
                    let filled = user.refill(done);
                    packets += sent;
                    if received + filled == 0 {
                        thread::yield_now();
                    }
                }
                stop.store(true, Ordering::Relaxed);
                start.elapsed().as_nanos() as f64 / f64::from(packets)
            });
            best = best.min(taken);
        }
        points.push((batch, best));
    }
    points
}

fn directory() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let given = env::args().skip_while(|argument| argument != "--plots").nth(1);
    root.join(given.unwrap_or_else(|| "target/plots".to_owned()))
}

fn main() -> io::Result<()> {
    // As criterion does, `cargo test --benches` looks only whether it runs.
    let is_bench = env::args().any(|argument| argument == "--bench");
    let (laps, turn) = if is_bench { (LAPS, Duration::from_millis(2)) } else { (1, Duration::ZERO) };
    let pace = Pace { laps, turn };
    let directory = directory();
    let publish = |name, title: &str, axes, lines: Vec<(&str, Points)>, place: &str| {
        let lines = lines.into_iter().map(|(name, points)| (name.to_owned(), points)).collect();
        let note = format!("{}; {place}", machine());
        Plot { name, title: title.to_owned(), axes, lines, note }.publish(&directory)
    };
    let rings = "rings of the simulated kernel, ring tier";
    let cost = "nanoseconds for a packet";
    publish(
        "ring-size",
        "A forward step of 64 packets",
        ["entries of each ring", cost],
        vec![("ring tier", ring_sizes(pace))],
        rings,
    )?;
    publish(
        "batch",
        "A forward step",
        ["packets of a batch", cost],
        vec![("ring tier", batches(pace))],
        rings,
    )?;
    publish(
        "queues",
        "Forward steps of 64 packets, one queue after the other",
        ["queues of one thread", cost],
        vec![("ring tier", queues(pace))],
        rings,
    )?;
    // Not a plot: where others want the processors, either half may be away for as long as they like.
    let best = two_threads(pace);
    let best: Vec<_> = best.iter().map(|(batch, time)| format!("{batch}: {time:.2}")).collect();
    println!(
        "\nForward steps, the kernel's half on another processor, at best: nanoseconds for a packet by batch"
    );
    println!("{}", best.join("  "));
    let Ok(mut place) = Place::veth() else {
        eprintln!("SKIPPED: frames and threads need root");
        return Ok(());
    };
    let name = place.name.clone();
    let counts: Vec<u32> = (6..=14).map(|power| 1 << power).collect();
    let lines = vec![
        ("pool of a port (last back, first out)", pool_frames(&mut place, &counts, pace)),
        ("each frame in its turn (ring tier)", rotated_frames(&mut place, &counts, pace)),
    ];
    publish("frames", "1500 bytes written and sent, batches of 64", ["frames", cost], lines, &name)?;
    let lines = vec![("ring tier", threads(&mut place, pace))];
    publish(
        "threads",
        "64 bytes sent, batches of 64, a queue for each thread",
        ["threads", cost],
        lines,
        &name,
    )?;
    println!("\nplots are in {}", directory.display());
    Ok(())
}
