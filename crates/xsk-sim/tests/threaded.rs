//! The kernel in the background: user threads and the kernel's thread on the same rings, in real time.
#![allow(clippy::disallowed_types, reason = "in real time")]

mod echo;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use xsk::backend::{Backend, Handle, PageSize, Poll, PollEvents, RedirectProgram};
use xsk::config::{BindFlags, LibxdpFlags, SocketConfig, UmemConfig, XdpFlags};
use xsk::{Socket, TxQueue, Umem};
use xsk_sim::fault::FaultRule;
use xsk_sim::{DeviceConfig, SimDevice, SimKernel, WouldBlockForever, XdpAction};

use echo::Program;

const MODES: [XdpFlags; 2] = [XdpFlags::XDP_FLAGS_SKB_MODE, XdpFlags::XDP_FLAGS_DRV_MODE];
const FRAMES: u32 = 64;
const PACKETS: u32 = 1500;

/// At rest, each frame is in one place, and none is missing.
fn check_frames(kernel: &SimKernel, program: &Program) {
    kernel.run_until_idle(100_000);
    let frames = kernel.frames();
    frames.check().unwrap_or_else(|error| panic!("{error}\n{frames}"));
    assert_eq!(frames.with_user(), program.mine.len() as u64, "{frames}");
    assert_eq!(frames.strays().count(), 0);
    kernel.check().unwrap();
}

fn config(mode: XdpFlags) -> SocketConfig {
    SocketConfig::builder().xdp_flags(mode).build()
}

#[test]
fn all_four_rings_at_once_on_a_card() {
    for (seed, mode) in MODES.into_iter().enumerate() {
        let kernel = SimKernel::new(seed as u64);
        let card = kernel.card("card", &DeviceConfig::default()).unwrap();
        let mut program = Program::open(&kernel, "card", config(mode), FRAMES);
        let background = kernel.run_in_background().unwrap();
        program.echo(PACKETS, |packet| card.inject(0, packet).is_ok(), || card.sent());
        drop(background);
        check_frames(&kernel, &program);
    }
}

#[test]
fn all_four_rings_at_once_on_a_veth() {
    for (seed, mode) in MODES.into_iter().enumerate() {
        let kernel = SimKernel::new(seed as u64);
        let threaded = DeviceConfig::default().threaded(true);
        let (_here, there) = kernel.veth("here", "there", &threaded).unwrap();
        kernel.record(10_000);
        let mut program = Program::open(&kernel, "here", config(mode), FRAMES);
        let background = kernel.run_in_background().unwrap();
        let late = Duration::ZERO..Duration::from_millis(1);
        let late = kernel.fault(FaultRule::delay_completions(late).chance(0.1));
        program.echo(PACKETS, |packet| there.send(packet).is_ok(), || there.receive());
        assert!(late.hits() > 0);
        drop(background);
        check_frames(&kernel, &program);
    }
}

#[test]
fn all_four_rings_at_once_without_copying() {
    for (seed, flags) in [BindFlags::XDP_ZEROCOPY, BindFlags::XDP_ZEROCOPY | BindFlags::XDP_USE_NEED_WAKEUP]
        .into_iter()
        .enumerate()
    {
        let kernel = SimKernel::new(seed as u64);
        let card = kernel.card("card", &DeviceConfig::default().zero_copy(true)).unwrap();
        let config = SocketConfig::builder().bind_flags(flags).build();
        let mut program = Program::open(&kernel, "card", config, FRAMES);
        assert!(program.is_zero_copy());
        let background = kernel.run_in_background().unwrap();
        program.echo(PACKETS, |packet| card.inject(0, packet).is_ok(), || card.sent());
        drop(background);
        check_frames(&kernel, &program);
    }
}

#[test]
fn it_starts_and_stops_while_traffic_goes_on() {
    let kernel = SimKernel::new(5);
    let card = kernel.card("card", &DeviceConfig::default()).unwrap();
    let mut program = Program::open(&kernel, "card", SocketConfig::default(), FRAMES);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let background = kernel.run_in_background().unwrap();
                assert!(kernel.run_in_background().is_err(), "twice at once");
                thread::sleep(Duration::from_millis(2));
                drop(background);
            }
        });
        program.echo(PACKETS, |packet| card.inject(0, packet).is_ok(), || card.sent());
        over.store(true, Ordering::Relaxed);
    });
    check_frames(&kernel, &program);
}

/// A bound socket that receives on `card`, with nothing on its fill ring.
struct Receiver {
    kernel: Arc<dyn Backend>,
    program: Program,
    socket: Handle,
}

impl Receiver {
    fn open(kernel: &SimKernel) -> Self {
        let program = Program::open(kernel, "card", SocketConfig::default(), FRAMES);
        let socket = program.rx().fd().handle();
        Self { kernel: kernel.backend(), program, socket }
    }

    /// A poll of the socket, for any thread to make: how many are ready, and how long it took.
    fn poll(&self) -> impl Fn(i32) -> std::io::Result<(usize, Duration)> + Send + Sync + use<> {
        let (kernel, socket) = (Arc::clone(&self.kernel), self.socket);
        move |timeout_ms| {
            let mut polls = [Poll { socket, events: PollEvents::IN, ready: PollEvents::empty() }];
            let start = Instant::now();
            let ready = kernel.poll(&mut polls, timeout_ms)?;
            Ok((ready, start.elapsed()))
        }
    }
}

/// Waits for what the kernel's thread does, on however busy a machine.
fn happens(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(20), "it never happened");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn time_is_real() {
    let (kernel, background) = SimKernel::threaded(1).unwrap();
    let card = kernel.card("card", &DeviceConfig::default()).unwrap();
    let receiver = Receiver::open(&kernel);
    const MS: Duration = Duration::from_millis(1);

    let (before, start) = (kernel.now(), Instant::now());
    kernel.sleep(20 * MS);
    assert!(start.elapsed() >= 20 * MS);
    assert!(kernel.now() - before >= 20 * MS);

    let (ready, took) = receiver.poll()(30).unwrap();
    assert_eq!(ready, 0);
    assert!(took >= 30 * MS, "{took:?}");

    // What is planned happens by itself, and steps have nothing to do.
    card.inject_after(10 * MS, 0, &[7; 60]).unwrap();
    assert!(!kernel.step());
    assert_eq!(kernel.run_until_idle(10), 0);
    happens(|| kernel.pending() == 0);

    // Afterwards the kernel stands still again.
    drop(background);
    let moment = kernel.time();
    thread::sleep(5 * MS);
    assert_eq!(kernel.time(), moment);
    card.inject_after(10 * MS, 0, &[7; 60]).unwrap();
    assert!(kernel.step());
    assert_eq!(kernel.time(), moment + 10 * MS);
}

#[test]
fn a_poll_sleeps_until_somebody_wakes_it() {
    let kernel = SimKernel::new(1);
    let card = kernel.card("card", &DeviceConfig::default()).unwrap();
    let mut receiver = Receiver::open(&kernel);
    receiver.program.fill(8);
    let (poll, background) = (receiver.poll(), kernel.run_in_background().unwrap());
    thread::scope(|scope| {
        // Three at once, each with a watch of its own.
        let polls = [(); 3].map(|()| scope.spawn(|| poll(-1)));
        thread::sleep(Duration::from_millis(30));
        assert!(polls.iter().all(|poll| !poll.is_finished()));
        card.inject(0, &[7; 60]).unwrap();
        polls.into_iter().for_each(|poll| assert_eq!(poll.join().unwrap().unwrap().0, 1));
    });
    drop(background);
}

#[test]
fn a_poll_that_waits_when_the_kernel_stops_goes_on_in_virtual_time() {
    let (kernel, background) = SimKernel::threaded(1).unwrap();
    let _card = kernel.card("card", &DeviceConfig::default()).unwrap();
    let receiver = Receiver::open(&kernel);
    let poll = receiver.poll();
    thread::scope(|scope| {
        let for_ever = scope.spawn(|| poll(-1));
        let an_hour = scope.spawn(|| poll(3_600_000));
        thread::sleep(Duration::from_millis(20));
        drop(background);
        let error = for_ever.join().unwrap().unwrap_err();
        assert!(error.get_ref().unwrap().is::<WouldBlockForever>(), "{error}");
        assert_eq!(an_hour.join().unwrap().unwrap().0, 0);
    });
    assert!(kernel.time() >= Duration::from_secs(3600));
}

#[test]
fn a_crash_ends_the_polls_that_wait() {
    let (kernel, background) = SimKernel::threaded(1).unwrap();
    let card = kernel.card("card", &DeviceConfig::default()).unwrap();
    let receiver = Receiver::open(&kernel);
    let poll = receiver.poll();
    let map = kernel.xskmap_create(1).unwrap();
    let program = kernel.program_load(&RedirectProgram { map, frags: true }).unwrap();
    let other = kernel.card("other", &DeviceConfig::default()).unwrap();
    let _link = kernel.link_create(program, other.index(), XdpFlags::XDP_FLAGS_DRV_MODE).unwrap();
    // A socket without an RX ring in a map, and a packet for it: Linux before 7.1 crashes.
    let tx_only = tx_only(&kernel, "other");
    kernel.xskmap_update(map, 0, tx_only.fd().handle()).unwrap();
    thread::scope(|scope| {
        let poll = scope.spawn(|| poll(-1));
        thread::sleep(Duration::from_millis(20));
        let _ = other.inject_after(Duration::from_millis(1), 0, &[7; 60]);
        assert!(poll.join().unwrap().unwrap_err().to_string().contains("Linux would crash here"));
    });
    drop(background);
    assert!(kernel.take_crash().is_some());
    drop((card, tx_only));
}

/// A socket that only sends, with frames to receive into.
fn tx_only(kernel: &SimKernel, interface: &str) -> TxQueue {
    let frames = NonZeroU32::new(4).unwrap();
    let (umem, frames) =
        Umem::new_in(kernel.backend(), UmemConfig::default(), frames, PageSize::Normal).unwrap();
    let flags = LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD;
    let config = SocketConfig::builder().libxdp_flags(flags).build();
    // SAFETY: nothing is sent, and what is received is not looked at.
    let (tx, rings) = unsafe { Socket::tx_only(config, &umem, &interface.parse().unwrap(), 0) }.unwrap();
    // SAFETY: as above.
    assert_eq!(unsafe { rings.unwrap().0.produce(&frames) }, 4);
    tx
}

#[test]
fn a_panic_in_the_kernels_thread_comes_out_where_it_is_stopped() {
    let kernel = SimKernel::new(1);
    let card = kernel.card("card", &DeviceConfig::default()).unwrap();
    let program = kernel.program("panics", true, |_| -> XdpAction { panic!("a mistake in a program") });
    kernel.link_create(program, card.index(), XdpFlags::empty()).unwrap();
    let background = kernel.run_in_background().unwrap();
    card.inject_after(Duration::from_millis(1), 0, &[7; 60]).unwrap();
    happens(|| kernel.pending() == 0);
    let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(background)));
    let panic = stopped.unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"a mistake in a program"));
    // The kernel itself goes on.
    kernel.now();
    drop::<SimDevice>(card);
}
