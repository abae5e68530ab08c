//! Configurations of any values: an error that names the value, or sockets and ports that work. No panic, and no wait.

use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;
use xsk::backend::{Backend, Capabilities, PageSize};
use xsk::config::{
    Attach, BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig, UmemFlags,
    XdpFlags,
};
use xsk::error::{Error, Step};
use xsk::port::{Mode, Policy};
use xsk::{Batch, FrameDesc, Pool, PoolConfig, Port, PortConfig, Socket, Umem};
use xsk_sim::{DeviceConfig, SimDevice, SimKernel};

use crate::regressions;

/// Numbers that something depends on, their neighbours, and any.
fn number() -> impl Strategy<Value = u32> {
    let edges: &[u32] = &[0, 1, 64, 256, 1792, 2048, 3000, 3392, 3840, 4096, 8192, 1 << 16, 1 << 22, 1 << 31];
    prop_oneof![
        3 => (prop::sample::select(edges), -1..=1_i32).prop_map(|(edge, by)| edge.wrapping_add_signed(by)),
        1 => (0..32_u32).prop_map(|bits| 1 << bits),
        1 => any::<u32>(),
        1 => 0..4096_u32,
    ]
}

/// Of what is mostly fine: so that not every configuration fails at the first value.
fn mostly(fine: &'static [u32]) -> impl Strategy<Value = u32> {
    prop_oneof![4 => prop::sample::select(fine), 1 => number()]
}

/// As many frames, but for what would really be taken from the machine that runs the test: it has so much, or too little by far.
fn affordable(frames: u32, frame_size: u32) -> u32 {
    let bytes = u64::from(frames) * u64::from(frame_size);
    if (32 << 20..1 << 46).contains(&bytes) {
        frames % (32 << 20).max(frame_size).div_euclid(frame_size)
    } else {
        frames
    }
}

/// Of a ring. Large ones take long to be made.
fn entries() -> impl Strategy<Value = u32> {
    prop_oneof![
        12 => prop::sample::select(&[1, 2, 16, 64, 2048][..]),
        3 => prop::sample::select(&[0, 3, 1000, 1 << 31, u32::MAX][..]),
        1 => number(),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => Just("a".to_owned()),
        1 => Just("b".to_owned()),
        1 => "[a-z0-9./\\n ]{0,20}",
        1 => ".{0,40}",
    ]
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(Duration::ZERO), Just(Duration::MAX), (0..5000_u64).prop_map(Duration::from_micros)]
}

/// A kernel with a pair of devices, and a process that may lock 16 MiB.
fn world() -> (SimKernel, SimDevice, SimDevice) {
    let kernel = SimKernel::new(1);
    let (a, b) = kernel.veth("a", "b", &DeviceConfig::default().queues(2)).unwrap();
    kernel.set_capabilities(Capabilities::all().difference(Capabilities::CAP_IPC_LOCK));
    kernel.set_memlock_limit(Some(16 << 20));
    (kernel, a, b)
}

const PACKET: [u8; 60] = [0x91; 60];

/// The text shows one of the values, as a number.
fn names_one_of(text: &str, values: &[u64]) {
    let number = |digits: &str| match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => digits.parse().ok(),
    };
    let shown: Vec<u64> = text.split(|c: char| !c.is_ascii_alphanumeric()).filter_map(number).collect();
    assert!(shown.iter().any(|number| values.contains(number)), "none of {values:?} in: {text}");
}

#[derive(Debug, Clone)]
struct UmemValues {
    frames: u32,
    frame_size: u32,
    fill: u32,
    completion: u32,
    headroom: u32,
    flags: u32,
    metadata: u32,
    pages: PageSize,
}

fn umem_values() -> impl Strategy<Value = UmemValues> {
    let flags = prop_oneof![6 => Just(0), 2 => 0..8_u32, 1 => any::<u32>()];
    let pages =
        prop_oneof![4 => Just(PageSize::Normal), 1 => Just(PageSize::Huge2M), 1 => Just(PageSize::Huge1G)];
    (
        mostly(&[1, 2, 16, 64]),
        mostly(&[2048, 4096]),
        entries(),
        entries(),
        mostly(&[0, 16, 128]),
        flags,
        mostly(&[0, 16]),
        pages,
    )
        .prop_map(|(frames, frame_size, fill, completion, headroom, flags, metadata, pages)| {
            UmemValues { frames, frame_size, fill, completion, headroom, flags, metadata, pages }
        })
}

/// `None`, if a value is refused: then the refusal names it.
fn umem(kernel: &SimKernel, values: &UmemValues) -> Option<(Umem, Vec<FrameDesc>)> {
    let &UmemValues { frames, frame_size, fill, completion, headroom, flags, metadata, pages } = values;
    let frames = affordable(frames, frame_size);
    let size =
        FrameSize::new(frame_size).map_err(|e| names_one_of(&e.to_string(), &[frame_size.into()])).ok()?;
    let ring = |entries| {
        QueueSize::new(entries).map_err(|e| names_one_of(&e.to_string(), &[u64::from(entries)])).ok()
    };
    let (fill, completion) = (ring(fill)?, ring(completion)?);
    let config = UmemConfig::builder()
        .frame_size(size)
        .fill_queue_size(fill)
        .comp_queue_size(completion)
        .frame_headroom(headroom)
        .flags(UmemFlags::from_bits_retain(flags))
        .tx_metadata_len(metadata)
        .build();
    let total = u64::from(headroom) + 256;
    let config = config
        .map_err(|e| names_one_of(&e.to_string(), &[frame_size.into(), total, metadata.into()]))
        .ok()?;
    let frames = NonZeroU32::new(frames)?;
    let before = kernel.now();
    let made = Umem::new_in(kernel.backend(), config, frames, pages);
    // As long as locked memory is waited for, and no longer.
    assert!(kernel.now() - before < Duration::from_millis(1100));
    let length = u64::from(frames.get()) * u64::from(frame_size);
    match made {
        Ok(made) => return Some(made),
        Err(error) => {
            let rings = [fill.get().into(), completion.get().into()];
            let shape = [frames.get().into(), frame_size.into(), length, headroom.into(), metadata.into()];
            // Of flags, those that have no name.
            let flags = (flags & !UmemFlags::all().bits()).into();
            names_one_of(&error.to_string(), &[&rings[..], &shape, &[flags]].concat());
        }
    }
    None
}

#[derive(Debug, Clone)]
struct SocketValues {
    name: String,
    queue: u32,
    rx: u32,
    tx: u32,
    bind: u16,
    xdp: u32,
    libxdp: u32,
    dispatcher: bool,
    busy: Duration,
}

fn socket_values() -> impl Strategy<Value = SocketValues> {
    let bind = prop_oneof![4 => Just(0), 2 => 0..32_u16, 1 => any::<u16>()];
    let xdp = prop_oneof![4 => Just(0), 2 => 0..16_u32, 1 => any::<u32>()];
    let libxdp = prop_oneof![4 => Just(0), 1 => any::<u32>()];
    (name(), mostly(&[0, 1]), entries(), entries(), bind, xdp, libxdp, prop::bool::weighted(0.1), time())
        .prop_map(|(name, queue, rx, tx, bind, xdp, libxdp, dispatcher, busy)| SocketValues {
            name,
            queue,
            rx,
            tx,
            bind,
            xdp,
            libxdp,
            dispatcher,
            busy,
        })
}

fn is_clear(error: &Error, name: &str, queue: u32) {
    let text = error.to_string();
    assert!(text.starts_with(&error.step().to_string()) && text.len() > 40, "{text}");
    assert!(!text.chars().any(char::is_control), "{text:?}");
    if name.len() < 16 && !name.is_empty() {
        assert!(text.contains(&name.escape_debug().to_string()), "no `{name}` in: {text}");
    }
    if error.step() != Step::FindInterface {
        names_one_of(&text, &[queue.into()]);
    }
}

/// Sends a packet out of the socket, and one into it, as far as it can have any.
fn works(
    (umem, descs): &(Umem, Vec<FrameDesc>),
    values: &SocketValues,
    opened: (xsk::TxQueue, xsk::RxQueue, Option<(xsk::FillQueue, xsk::CompQueue)>),
    (kernel, here, far): &(SimKernel, SimDevice, SimDevice),
) {
    let (mut tx, mut rx, rings) = opened;
    let (mut fill, mut completion) = rings.expect("the first socket of the queue");
    let room = umem.layout().room();
    let mut desc = descs[0];
    // SAFETY: the only frame in use, which is the user's.
    let data = unsafe { umem.data_mut(&mut desc) }.cursor().buf_len();
    if data >= PACKET.len() {
        {
            use std::io::Write;
            // SAFETY: as above.
            let mut data = unsafe { umem.data_mut(&mut desc) };
            data.cursor().set_pos(0);
            data.cursor().write_all(&PACKET).unwrap();
        }
        // SAFETY: as above.
        assert_eq!(unsafe { tx.produce_one_and_wakeup(&desc) }.unwrap(), 1);
        kernel.run_until_idle(100);
        let out = if values.name == "a" { far } else { here };
        assert_eq!(out.receive().as_deref(), Some(&PACKET[..]), "what was sent");
        // SAFETY: one UMEM.
        assert_eq!(unsafe { completion.consume_one(&mut desc) }, 1);
    }
    // SAFETY: it came back.
    assert_eq!(unsafe { fill.produce_one(&descs[0]) }, 1);
    let from = if values.name == "a" { far } else { here };
    let skb = values.xdp & XdpFlags::XDP_FLAGS_SKB_MODE.bits() != 0;
    let inhibit = values.libxdp & 1 == 1;
    // In SKB mode veth counts queues from 1.
    let goes_there = !(inhibit || skb && values.queue == 1);
    from.send_on(values.queue, &PACKET).unwrap();
    kernel.run_until_idle(100);
    // SAFETY: one UMEM.
    let got = unsafe { rx.consume_one(&mut desc) };
    assert_eq!(got == 1, goes_there && room as usize >= PACKET.len(), "{} bytes of room", room);
    if got == 1 {
        // SAFETY: a received frame is the user's.
        assert_eq!(unsafe { umem.data(&desc) }.to_vec(), PACKET);
    }
}

fn port_config(v: &PortValues) -> PortConfig {
    let mut config = PortConfig::default()
        .rx_ring(v.rings[0])
        .tx_ring(v.rings[1])
        .fill_ring(v.rings[2])
        .completion_ring(v.rings[3])
        .multi_buffer(v.multi_buffer)
        .busy_timeout(v.busy)
        .policy(if v.interrupt { Policy::Interrupt } else { Policy::NeedWakeup })
        .xdp_flags(XdpFlags::from_bits_retain(v.xdp));
    if let Some(level) = v.level {
        config = config.fill_level(level);
    }
    if let Some(copy) = v.copy {
        config = config.mode(if copy { Mode::Copy } else { Mode::ZeroCopy });
    }
    config
}

#[derive(Debug, Clone)]
struct PortValues {
    frames: u32,
    frame_size: u32,
    headroom: u32,
    name: String,
    queue: u32,
    rings: [u32; 4],
    level: Option<u32>,
    copy: Option<bool>,
    multi_buffer: bool,
    interrupt: bool,
    xdp: u32,
    busy: Duration,
}

fn port_values() -> impl Strategy<Value = PortValues> {
    // Rounded to what there is, so that large numbers make large rings.
    let ring = || prop_oneof![40 => 0..2000_u32, 1 => number()];
    let pool = (mostly(&[1, 2, 3, 64, 256]), mostly(&[2048, 4096]), mostly(&[0, 64]));
    let place = (name(), mostly(&[0, 1]), [ring(), ring(), ring(), ring()], prop::option::of(number()));
    let xdp = prop_oneof![6 => Just(0), 1 => 0..16_u32, 1 => any::<u32>()];
    let copy = prop_oneof![4 => Just(None), 1 => any::<bool>().prop_map(Some)];
    (pool, place, copy, any::<bool>(), any::<bool>(), xdp, time()).prop_map(
        |(
            (frames, frame_size, headroom),
            (name, queue, rings, level),
            copy,
            multi_buffer,
            interrupt,
            xdp,
            busy,
        )| {
            PortValues {
                frames,
                frame_size,
                headroom,
                name,
                queue,
                rings,
                level,
                copy,
                multi_buffer,
                interrupt,
                xdp,
                busy,
            }
        },
    )
}

proptest! {
    #![proptest_config(regressions::config("values"))]

    #[test]
    fn sockets(umem_values in umem_values(), values in socket_values()) {
        let world = world();
        let Some(made) = umem(&world.0, &umem_values) else { return Ok(()) };
        let ring = |entries| {
            QueueSize::new(entries).map_err(|e| names_one_of(&e.to_string(), &[u64::from(entries)])).ok()
        };
        let (Some(rx), Some(tx)) = (ring(values.rx), ring(values.tx)) else { return Ok(()) };
        let Ok(name) = values.name.parse::<Interface>() else {
            prop_assert!(values.name.contains('\0'));
            return Ok(());
        };
        let config = SocketConfig::builder()
            .rx_queue_size(rx)
            .tx_queue_size(tx)
            .bind_flags(BindFlags::from_bits_retain(values.bind))
            .xdp_flags(XdpFlags::from_bits_retain(values.xdp))
            .libxdp_flags(LibxdpFlags::from_bits_retain(values.libxdp))
            .attach(if values.dispatcher { Attach::Dispatcher } else { Attach::Link })
            .busy_timeout(values.busy)
            .build();
        // SAFETY: no frame is handed over but by `works`.
        match unsafe { Socket::new(config, &made.0, &name, values.queue) } {
            Ok(opened) => works(&made, &values, opened, &world),
            Err(error) => is_clear(&error, &values.name, values.queue),
        }
    }

    #[test]
    fn ports(values in port_values()) {
        let (kernel, here, far) = world();
        let values = PortValues { frames: affordable(values.frames, values.frame_size), ..values };
        let config = PoolConfig::default()
            .frames(values.frames)
            .frame_size(values.frame_size)
            .headroom(values.headroom);
        let pool = match Pool::new_in(kernel.backend(), config) {
            Ok(pool) => pool,
            Err(error) => {
                let total = u64::from(values.headroom) + 256;
                let length = u64::from(values.frames) * u64::from(values.frame_size);
                let shape = [values.frames, values.frame_size, values.headroom].map(u64::from);
                // Of a frame size, at least the largest that there is.
                names_one_of(&error.to_string(), &[&shape[..], &[total, length, 1 << 15]].concat());
                return Ok(());
            }
        };
        let frames = pool.frames();
        match Port::open(&pool, &values.name, values.queue, port_config(&values)) {
            Err(error) => is_clear(&error, &values.name, values.queue),
            Ok(mut port) => {
                let (from, out) = if values.name == "a" { (&far, &far) } else { (&here, &here) };
                from.send_on(values.queue, &PACKET).unwrap();
                kernel.run_until_idle(100);
                let mut batch = Batch::with_capacity(4);
                let skb = values.xdp & XdpFlags::XDP_FLAGS_SKB_MODE.bits() != 0;
                let goes_there = !(skb && values.queue == 1) && pool.room() as usize >= PACKET.len();
                let got = port.recv(&mut batch).unwrap();
                if !values.multi_buffer {
                    prop_assert_eq!(got == 1, goes_there);
                }
                if got == 1 && batch[0].is_linear() {
                    prop_assert_eq!(&*batch[0], &PACKET[..]);
                    prop_assert_eq!(port.send(&mut batch).unwrap(), 1);
                    prop_assert_eq!(port.flush().unwrap(), 0);
                    prop_assert_eq!(out.receive(), Some(PACKET.to_vec()));
                }
            }
        }
        kernel.run_until_idle(100);
        let all: Vec<_> = std::iter::from_fn(|| pool.packet()).collect();
        prop_assert_eq!((all.len() as u32 + pool.quarantined(), pool.with_kernel()), (frames, pool.quarantined()));
    }
}
