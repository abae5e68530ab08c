//! Any calls on the simulated kernel, in any order, and user memory written at any time: each call has a result that Linux
//! could have, or what happened is a crash that says so; and when all is closed, nothing is left.

mod ring;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use xsk::backend::{Backend, Handle, Mapping, PageSize, Poll, PollEvents, RedirectProgram};
use xsk::config::XdpFlags;
use xsk_core::abi::{
    Pod, SOL_XDP, XDP_MMAP_OFFSETS, XDP_UMEM_REG, sockaddr_xdp, xdp_mmap_offsets, xdp_umem_reg,
};
use xsk_sim::fault::{DeviceFault, FaultRule};
use xsk_sim::{Crash, DeviceConfig, Profile, SimDevice, SimKernel, Unsupported, WouldBlockForever};

use ring::{Mapped, Ring};

#[derive(Debug, Arbitrary)]
struct Input {
    seed: u64,
    profile: u8,
    queues: u8,
    threaded: bool,
    /// Which faults there are; the highest bit: nothing is open at the start.
    faults: u16,
    calls: Vec<Call>,
}

/// A call. `s` is one of three sockets.
#[derive(Debug, Arbitrary)]
enum Call {
    /// What a program does to get going: memory, rings, bind, map slot.
    Open {
        s: u8,
        queue: u8,
        flags: u16,
        shared: Option<u8>,
    },
    /// A descriptor, published, and a kick.
    Transmit {
        s: u8,
        entry: [u16; 4],
    },
    Socket {
        s: u8,
    },
    Close {
        s: u8,
    },
    Register {
        s: u8,
        at: i16,
        len: u32,
        chunk: u32,
        headroom: u16,
        flags: u8,
        metadata: u16,
        take: u8,
    },
    Ring {
        s: u8,
        ring: Ring,
        shift: u8,
        odd: bool,
    },
    Map {
        s: u8,
        ring: Ring,
    },
    MapAny {
        s: u8,
        offset: u64,
        len: u16,
    },
    Unmap {
        s: u8,
        ring: Ring,
    },
    SetOption {
        s: u8,
        level: i32,
        name: u8,
        value: [u8; 8],
        take: u8,
    },
    GetOption {
        s: u8,
        name: u8,
        len: u8,
    },
    Bind {
        s: u8,
        index: u8,
        queue: u8,
        flags: u16,
        shared: u8,
        family: u16,
    },
    /// An index of a mapped ring, or its flags, becomes anything.
    Word {
        s: u8,
        ring: Ring,
        word: u8,
        value: u32,
    },
    /// An entry is written, and if so published.
    Entry {
        s: u8,
        ring: Ring,
        entry: [u16; 4],
        publish: bool,
    },
    /// What waits in a ring is taken.
    Take {
        s: u8,
        ring: Ring,
    },
    Memory {
        at: u16,
        bytes: [u8; 16],
    },
    Send {
        s: u8,
    },
    Receive {
        s: u8,
    },
    Poll {
        s: u8,
        events: i16,
        timeout: i8,
    },
    MapUpdate {
        s: u8,
        key: u8,
        flags: u8,
    },
    MapDelete {
        key: u8,
    },
    Attach {
        flags: u32,
    },
    Detach,
    Packet {
        len: u16,
        queue: u8,
        there: bool,
    },
    Step,
    Sleep {
        ms: u8,
    },
    Up {
        there: bool,
        up: bool,
    },
    Mtu {
        there: bool,
        mtu: u32,
    },
    Queues {
        there: bool,
        rx: u8,
        tx: u8,
    },
    Remove {
        there: bool,
    },
}

#[derive(Default)]
struct Socket {
    handle: Option<Handle>,
    sizes: [u32; 4],
    rings: [Option<Mapped>; 4],
}

struct World {
    kernel: SimKernel,
    backend: Arc<dyn Backend>,
    here: SimDevice,
    there: SimDevice,
    memory: Mapping,
    map: Handle,
    link: Option<Handle>,
    sockets: [Socket; 3],
}

const MEMORY: usize = 32 * 4096;

pub fn run(data: &[u8]) {
    let Some(input) = crate::bytes::read::<Input>(data) else { return };
    let profiles = [Profile::default(), Profile::LINUX_6_1, Profile::LINUX_5_10];
    let kernel = SimKernel::with_profile(input.seed, profiles[usize::from(input.profile) % profiles.len()]);
    kernel.record(256);
    let config = DeviceConfig::default().queues(u32::from(input.queues % 3) + 1).threaded(input.threaded);
    let (here, there) = kernel.veth("here", "there", &config).expect("two names");
    let backend = kernel.backend();
    let memory = backend.mmap_memory(MEMORY, PageSize::Normal).expect("memory");
    let map = backend.xskmap_create(4).expect("a map");
    let faults = faults(&here, input.faults);
    let _guards: Vec<_> = faults.into_iter().map(|rule| kernel.fault(rule.chance(0.1))).collect();
    let mut world =
        World { kernel, backend, here, there, memory, map, link: None, sockets: Default::default() };
    // Most inputs begin with a bound socket that gets packets: from nothing few would get that far.
    let flags = u32::from(input.profile >> 7);
    let start =
        [Call::Open { s: 0, queue: 0, flags: input.queues.into(), shared: None }, Call::Attach { flags }];
    let start = start.iter().filter(|_| input.faults >> 15 == 0);
    for call in start.chain(input.calls.iter().take(200)) {
        let result = world.call(call);
        is_possible(call, result);
        let _ = (world.kernel.frames(), world.kernel.snapshot());
        if world.kernel.take_crash().is_some() {
            return;
        }
    }
    world.end();
}

fn faults(device: &SimDevice, chosen: u16) -> Vec<FaultRule> {
    let ms = Duration::from_millis(1);
    let rules = [
        FaultRule::lose_kicks(),
        FaultRule::lose_wakes(),
        FaultRule::lose_packets(),
        FaultRule::delay_packets(Duration::ZERO..ms),
        FaultRule::delay_napi(Duration::ZERO..ms),
        FaultRule::stall_napi(),
        FaultRule::starve(),
        FaultRule::corrupt_rx(),
        FaultRule::lose_completions(),
        FaultRule::delay_completions(Duration::ZERO..ms),
        FaultRule::corrupt_completions(),
        FaultRule::corrupt_index(xsk_sim::fault::Ring::Rx),
        FaultRule::corrupt_index(xsk_sim::fault::Ring::Completion),
        FaultRule::device_fault(device, DeviceFault::Flap(ms)).times(2),
    ];
    rules.into_iter().enumerate().filter(|(i, _)| chosen >> i & 1 == 1).map(|(_, rule)| rule).collect()
}

/// A call's error is an errno, or one of the outcomes that only a simulator has.
fn is_possible(call: &Call, result: io::Result<()>) {
    let Err(error) = result else { return };
    let inner = error.get_ref();
    let ours = inner.is_some_and(|e| e.is::<Crash>() || e.is::<Unsupported>() || e.is::<WouldBlockForever>());
    assert!(ours || error.raw_os_error().is_some_and(|number| number > 0), "{call:?}: {error:?}");
}

impl World {
    fn socket(&mut self, s: u8) -> &mut Socket {
        &mut self.sockets[usize::from(s) % 3]
    }

    fn handle(&self, s: u8) -> Handle {
        self.sockets[usize::from(s) % 3].handle.unwrap_or(Handle(-1))
    }

    fn device(&self, there: bool) -> &SimDevice {
        if there { &self.there } else { &self.here }
    }

    fn call(&mut self, call: &Call) -> io::Result<()> {
        let backend = Arc::clone(&self.backend);
        match *call {
            Call::Open { s, queue, flags, shared } => {
                self.call(&Call::Socket { s })?;
                if shared.is_none() {
                    let (at, len) = (0, MEMORY as u32);
                    let (chunk, take) = (2048 << (flags & 1), 32);
                    self.call(&Call::Register {
                        s,
                        at,
                        len,
                        chunk,
                        headroom: 0,
                        flags: 0,
                        metadata: 0,
                        take,
                    })?;
                    self.call(&Call::Ring { s, ring: Ring::Fill, shift: 3, odd: false })?;
                    self.call(&Call::Ring { s, ring: Ring::Completion, shift: 2, odd: false })?;
                }
                self.call(&Call::Ring { s, ring: Ring::Rx, shift: 3, odd: false })?;
                self.call(&Call::Ring { s, ring: Ring::Tx, shift: 3, odd: false })?;
                for ring in [Ring::Rx, Ring::Tx, Ring::Fill, Ring::Completion] {
                    let _ = self.call(&Call::Map { s, ring });
                }
                // Copy mode, need-wakeup or not.
                let flags = flags & 0b1010 | u16::from(shared.is_some());
                let shared = shared.unwrap_or(0);
                self.call(&Call::Bind { s, index: 0, queue: queue % 2, flags, shared, family: 44 })?;
                self.call(&Call::MapUpdate { s, key: queue % 2, flags: 0 })
            }
            Call::Transmit { s, entry } => {
                self.call(&Call::Entry { s, ring: Ring::Tx, entry, publish: true })?;
                self.call(&Call::Send { s })
            }
            Call::Socket { s } => {
                self.call(&Call::Close { s })?;
                self.socket(s).handle = Some(backend.socket()?);
                Ok(())
            }
            Call::Close { s } => {
                if let Some(handle) = self.socket(s).handle.take() {
                    backend.close(handle);
                }
                *self.socket(s) = Socket::default();
                Ok(())
            }
            Call::Register { s, at, len, chunk, headroom, flags, metadata, take } => {
                let reg = xdp_umem_reg {
                    addr: (self.memory.as_ptr().as_ptr() as u64).wrapping_add_signed(at.into()),
                    len: u64::from(len),
                    chunk_size: chunk,
                    headroom: headroom.into(),
                    flags: flags.into(),
                    tx_metadata_len: metadata.into(),
                };
                let value = &reg.as_bytes()[..usize::from(take).min(32)];
                backend.setsockopt(self.handle(s), SOL_XDP, XDP_UMEM_REG, value)
            }
            Call::Ring { s, ring, shift, odd } => {
                // Larger rings only take memory.
                let entries = (1_u32 << (shift % 11)) + u32::from(odd);
                let handle = self.handle(s);
                backend.setsockopt(handle, SOL_XDP, ring.option(), &entries.to_ne_bytes())?;
                self.socket(s).sizes[ring as usize] = entries;
                Ok(())
            }
            Call::Map { s, ring } => {
                let mut offsets = xdp_mmap_offsets::default();
                let handle = self.handle(s);
                let got = backend.getsockopt(handle, SOL_XDP, XDP_MMAP_OFFSETS, offsets.as_bytes_mut())?;
                let entries = self.socket(s).sizes[ring as usize];
                if got < size_of::<xdp_mmap_offsets>() || entries == 0 {
                    return Ok(());
                }
                let words = ring.words(&offsets);
                let len = words.desc as usize + entries as usize * ring.entry_size();
                let memory = backend.mmap_ring(handle, ring.offset(), len)?;
                assert!(memory.len() >= len);
                let mapped = Mapped { memory, words, entries, entry_size: ring.entry_size() };
                self.socket(s).rings[ring as usize] = Some(mapped);
                Ok(())
            }
            Call::MapAny { s, offset, len } => {
                backend.mmap_ring(self.handle(s), offset, len.into()).map(drop)
            }
            Call::Unmap { s, ring } => {
                self.socket(s).rings[ring as usize] = None;
                Ok(())
            }
            Call::SetOption { s, level, name, value, take } => {
                // Ring sizes and UMEMs have calls of their own.
                let level = if level % 2 == 0 { SOL_XDP } else { level };
                if level == SOL_XDP && (2..=6).contains(&name) {
                    return Ok(());
                }
                backend.setsockopt(self.handle(s), level, name.into(), &value[..usize::from(take % 9)])
            }
            Call::GetOption { s, name, len } => {
                let mut value = vec![0xee; usize::from(len)];
                let got = backend.getsockopt(self.handle(s), SOL_XDP, name.into(), &mut value)?;
                assert!(got <= value.len());
                assert!(value[got..].iter().all(|byte| *byte == 0xee), "{got} bytes of {value:x?}");
                Ok(())
            }
            Call::Bind { s, index, queue, flags, shared, family } => {
                let indices = [self.here.index(), self.there.index(), 0, 77];
                let address = sockaddr_xdp {
                    sxdp_family: family,
                    sxdp_flags: flags,
                    sxdp_ifindex: indices[usize::from(index % 4)],
                    sxdp_queue_id: queue.into(),
                    sxdp_shared_umem_fd: self.handle(shared).0.cast_unsigned(),
                };
                backend.bind(self.handle(s), &address)
            }
            Call::Word { s, ring, word, value } => {
                if let Some(ring) = &self.socket(s).rings[ring as usize] {
                    ring.set(word, value);
                }
                Ok(())
            }
            Call::Entry { s, ring, entry: [a, b, c, d], publish } => {
                if let Some(mapped) = &self.socket(s).rings[ring as usize] {
                    // Within the memory or as far behind it, mostly of a packet's length and with options that there are.
                    let address = u64::from(a) << 2 | u64::from(b & 0xf) << 52;
                    let len = if b & 0x100 == 0 { c % 2048 } else { c };
                    let options = if b & 0x200 == 0 { d % 4 } else { d };
                    let mut entry = [0; 16];
                    entry[..8].copy_from_slice(&address.to_ne_bytes());
                    entry[8..12].copy_from_slice(&u32::from(len).to_ne_bytes());
                    entry[12..].copy_from_slice(&u32::from(options).to_ne_bytes());
                    let index = mapped.get(0);
                    mapped.write(index, &entry);
                    if publish {
                        mapped.set(0, index.wrapping_add(1));
                    }
                }
                Ok(())
            }
            Call::Take { s, ring } => {
                if let Some(ring) = &self.socket(s).rings[ring as usize] {
                    ring.set(1, ring.get(0));
                }
                Ok(())
            }
            Call::Memory { at, bytes } => {
                let at = usize::from(at) % (MEMORY - bytes.len());
                // SAFETY: within the mapping, and there is one thread.
                unsafe {
                    let to = self.memory.as_ptr().as_ptr().add(at);
                    to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                }
                Ok(())
            }
            Call::Send { s } => backend.sendto(self.handle(s)),
            Call::Receive { s } => backend.recvfrom(self.handle(s)),
            Call::Poll { s, events, timeout } => {
                let events = PollEvents::from_bits_retain(events);
                let mut polls = [Poll { socket: self.handle(s), events, ready: PollEvents::empty() }];
                backend.poll(&mut polls, timeout.into()).map(drop)
            }
            Call::MapUpdate { s, key, flags } => {
                self.kernel.xskmap_update_flags(self.map, key.into(), self.handle(s), flags.into())
            }
            Call::MapDelete { key } => backend.xskmap_delete(self.map, key.into()),
            Call::Attach { flags } => {
                if self.link.is_some() {
                    return Ok(());
                }
                let frags = flags & 1 << 20 != 0;
                let program = backend.program_load(&RedirectProgram { map: self.map, frags })?;
                let mode = [XdpFlags::XDP_FLAGS_SKB_MODE, XdpFlags::XDP_FLAGS_DRV_MODE][(flags & 1) as usize];
                let flags = if flags & 2 == 0 { mode } else { XdpFlags::from_bits_retain(flags) };
                self.link = Some(backend.link_create(program, self.here.index(), flags)?);
                Ok(())
            }
            Call::Detach => {
                if let Some(link) = self.link.take() {
                    backend.close(link);
                }
                Ok(())
            }
            Call::Packet { len, queue, there } => {
                self.device(there).send_on(u32::from(queue % 4), &vec![7; usize::from(len % 9100)])
            }
            Call::Step => {
                self.kernel.step();
                Ok(())
            }
            Call::Sleep { ms } => {
                backend.sleep(Duration::from_millis(ms.into()));
                Ok(())
            }
            Call::Up { there, up } => {
                self.device(there).set_up(up);
                Ok(())
            }
            Call::Mtu { there, mtu } => self.device(there).set_mtu(mtu),
            Call::Queues { there, rx, tx } => {
                self.device(there).set_queues(u32::from(rx % 5), u32::from(tx % 5))
            }
            Call::Remove { there } => {
                self.device(there).remove();
                Ok(())
            }
        }
    }

    /// Everything is closed and unmapped; nothing may be left.
    fn end(mut self) {
        let _ = self.call(&Call::Detach);
        for s in 0..3 {
            let _ = self.call(&Call::MapDelete { key: s });
            let _ = self.call(&Call::Close { s });
        }
        let _ = self.call(&Call::MapDelete { key: 3 });
        self.backend.close(self.map);
        self.kernel.run_until_idle(10_000);
        if self.kernel.take_crash().is_none() {
            let left = self.kernel.snapshot();
            assert!(!left.contains("socket") && !left.contains("umem"), "left behind: {left}");
        }
    }
}
