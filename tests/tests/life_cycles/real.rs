//! The library on a simulated kernel, beside the model.

use std::num::NonZeroU32;
use std::thread;
use std::time::Duration;

use xsk::backend::PageSize;
use xsk::config::{LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk::error::Diagnosis;
use xsk::socket::SocketCreateError;
use xsk::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};
use xsk_sim::fault::{Call, FaultRule};
use xsk_sim::{DeviceConfig, Place, SimDevice, SimKernel};

use crate::model::{FRAMES, Kind, Model, Outcome, PartKind, QUEUES, UMEMS, Wish};

/// A call that fails.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fails {
    pub(crate) call: Call,
    pub(crate) errno: i32,
    pub(crate) nth: u64,
}

/// What happens. Numbers of parts and sockets count what there is, and wrap.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Umem {
        umem: usize,
        fails: Option<Fails>,
    },
    CloneUmem {
        umem: usize,
    },
    DropUmem {
        umem: usize,
    },
    Open {
        wish: Wish,
        fails: Option<Fails>,
    },
    DropPart {
        part: usize,
        fails: Option<Fails>,
    },
    DropSocket {
        socket: usize,
    },
    /// A part goes to another thread and back.
    Travel {
        part: usize,
    },
    Fill {
        part: usize,
    },
    Arrive {
        from: u32,
    },
    Receive {
        part: usize,
    },
    Send {
        part: usize,
    },
    Complete {
        part: usize,
    },
}

enum Part {
    Tx(TxQueue),
    Rx(RxQueue),
    Fill(FillQueue),
    Completion(CompQueue),
}

impl Part {
    fn kind(&self) -> PartKind {
        match self {
            Self::Tx(_) => PartKind::Tx,
            Self::Rx(_) => PartKind::Rx,
            Self::Fill(_) => PartKind::Fill,
            Self::Completion(_) => PartKind::Completion,
        }
    }

    /// How much it has room for, or has.
    fn look(&mut self) -> u32 {
        match self {
            Self::Tx(tx) => tx.nb_free_exact(),
            Self::Rx(rx) => rx.nb_avail_exact(),
            Self::Fill(fill) => fill.nb_free_exact(),
            Self::Completion(completion) => completion.nb_avail_exact(),
        }
    }
}

pub(crate) struct World {
    kernel: SimKernel,
    device: SimDevice,
    far: SimDevice,
    model: Model,
    umems: [Vec<Umem>; UMEMS],
    descs: [Vec<FrameDesc>; UMEMS],
    parts: Vec<(u64, Part)>,
    tag: u8,
}

fn packet(tag: u8) -> Vec<u8> {
    // An EtherType that means nothing to anyone.
    [vec![tag; 12], vec![0x88, 0xb5], vec![tag; 46]].concat()
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let kernel = SimKernel::new(seed);
        let (device, far) = kernel.veth("a", "b", &DeviceConfig::default().queues(QUEUES)).unwrap();
        Self {
            kernel,
            device,
            far,
            model: Model::default(),
            umems: Default::default(),
            descs: Default::default(),
            parts: Vec::new(),
            tag: 0,
        }
    }

    /// Runs something in which a call may fail. The second: whether one did.
    fn failing<T>(&mut self, fails: Option<Fails>, run: impl FnOnce(&mut Self) -> T) -> (T, bool) {
        let rule = fails.map(|fails| FaultRule::errno(fails.call, fails.errno).nth(fails.nth));
        let guard = rule.map(|rule| self.kernel.fault(rule));
        let result = run(self);
        let hit = guard.is_some_and(|guard| guard.hits() > 0);
        (result, hit)
    }

    fn part(&mut self, number: usize, kind: PartKind) -> Option<usize> {
        let of_kind: Vec<usize> =
            (0..self.parts.len()).filter(|at| self.parts[*at].1.kind() == kind).collect();
        (!of_kind.is_empty()).then(|| of_kind[number % of_kind.len()])
    }

    fn make_umem(&mut self, umem: usize, fails: Option<Fails>) {
        if self.model.is_alive(umem) {
            return;
        }
        let ring = QueueSize::new(16).unwrap();
        let config = UmemConfig::builder().fill_queue_size(ring).comp_queue_size(ring).build().unwrap();
        let frames = NonZeroU32::new(FRAMES as u32).unwrap();
        let make = |world: &mut Self| Umem::new_in(world.kernel.backend(), config, frames, PageSize::Normal);
        match self.failing(fails, make) {
            (Ok((made, descs)), _) => {
                self.model.made(umem);
                (self.umems[umem], self.descs[umem]) = (vec![made], descs);
            }
            (Err(error), true) => assert_eq!(error.errno(), fails.map(|fails| fails.errno), "{error}"),
            (Err(error), false) => panic!("{error}"),
        }
    }

    fn try_open(&self, wish: Wish) -> Result<Vec<Part>, SocketCreateError> {
        let ring = QueueSize::new(16).unwrap();
        let flags = LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD;
        let config = SocketConfig::builder()
            .rx_queue_size(ring)
            .tx_queue_size(ring)
            .xdp_flags(wish.mode)
            .libxdp_flags(if wish.program { LibxdpFlags::empty() } else { flags })
            .busy_timeout(Duration::from_millis(5))
            .build();
        let (umem, name) = (&self.umems[wish.umem][0], "a".parse().unwrap());
        // SAFETY: the model knows who has each frame, and hands over the user's only.
        let (tx, rx, rings) = unsafe {
            match wish.kind {
                Kind::Both => Socket::new(config, umem, &name, wish.queue)
                    .map(|(tx, rx, rings)| (Some(tx), Some(rx), rings)),
                Kind::Receives => Socket::rx_only(config, umem, &name, wish.queue)
                    .map(|(rx, rings)| (None, Some(rx), rings)),
                Kind::Sends => Socket::tx_only(config, umem, &name, wish.queue)
                    .map(|(tx, rings)| (Some(tx), None, rings)),
            }
        }?;
        let (fill, completion) = rings.unzip();
        let parts =
            [tx.map(Part::Tx), rx.map(Part::Rx), fill.map(Part::Fill), completion.map(Part::Completion)];
        Ok(parts.into_iter().flatten().collect())
    }

    fn open(&mut self, wish: Wish, fails: Option<Fails>) {
        if self.model.handles(wish.umem) == 0 {
            return;
        }
        let expected = self.model.outcome(wish);
        let (result, hit) = self.failing(fails, |world| world.try_open(wish));
        let error = match result {
            Ok(parts) => {
                let pool_rings = parts.iter().any(|part| part.kind() == PartKind::Fill);
                assert_eq!(Outcome::Opens { pool_rings }, expected, "{wish:?}");
                let number = self.model.opened(wish, pool_rings);
                self.parts.extend(parts.into_iter().map(|part| (number, part)));
                return;
            }
            Err(error) => error,
        };
        assert_eq!((error.interface(), error.queue()), (Some("a"), Some(wish.queue)), "{error}");
        let as_expected = match error.diagnosis() {
            Diagnosis::QueueBusy { .. } => expected == Outcome::QueueBusy,
            Diagnosis::OtherMode { .. } => expected == Outcome::OtherMode,
            _ => false,
        };
        let by_fault = hit && error.errno() == fails.map(|fails| fails.errno);
        assert!(as_expected || by_fault, "{wish:?}, {expected:?}, but: {error}");
        self.model.refused(wish, !hit);
    }

    fn drop_part(&mut self, at: usize, fails: Option<Fails>) {
        let (number, part) = self.parts.remove(at);
        let kind = part.kind();
        let ((), hit) = self.failing(fails, |_| drop(part));
        self.model.part_dropped(
            number,
            kind,
            hit && fails.is_some_and(|fails| fails.call == Call::XskMapUpdate),
        );
    }

    fn travel(&mut self, at: usize) {
        let (number, mut part) = self.parts.remove(at);
        let here = part.look();
        let (part, there) = thread::spawn(move || {
            let there = part.look();
            (part, there)
        })
        .join()
        .unwrap();
        assert_eq!(here, there);
        self.parts.insert(at, (number, part));
    }

    fn fill(&mut self, at: usize) {
        let number = self.parts[at].0;
        let umem = self.model.umem_of(number);
        let Some(frame) = self.model.take_frame(umem) else { return };
        let Part::Fill(fill) = &mut self.parts[at].1 else { unreachable!() };
        // SAFETY: the user's frame.
        assert_eq!(unsafe { fill.produce(&self.descs[umem][frame..=frame]) }, 1);
        self.model.filled(number, frame);
    }

    fn arrive(&mut self, from: u32) {
        self.tag = self.tag.wrapping_add(1);
        self.far.send_on(from, &packet(self.tag)).unwrap();
        self.kernel.run_until_idle(1000);
        let passed = self.model.arrives(from, self.tag);
        assert_eq!(self.device.receive(), passed.then(|| packet(self.tag)), "what the stack gets");
    }

    fn receive(&mut self, at: usize) {
        let number = self.parts[at].0;
        let umem = self.model.umem_of(number);
        let Part::Rx(rx) = &mut self.parts[at].1 else { unreachable!() };
        let mut got = [FrameDesc::default(); FRAMES + 1];
        // SAFETY: one UMEM.
        let count = unsafe { rx.consume(&mut got) };
        let expected = self.model.received(number);
        assert_eq!(count, expected.len());
        for (desc, (frame, tag)) in got.iter().zip(expected) {
            assert_eq!(desc.addr() / 4096, frame);
            if let Some(umem) = self.umems[umem].first() {
                // SAFETY: received frames are the user's.
                assert_eq!(unsafe { umem.data(desc) }.to_vec(), packet(tag));
            }
        }
    }

    fn send(&mut self, at: usize) {
        let number = self.parts[at].0;
        let of = self.model.umem_of(number);
        let Some(umem) = self.umems[of].first() else { return };
        let Some(frame) = self.model.take_frame(of) else { return };
        self.tag = self.tag.wrapping_add(1);
        let mut desc = self.descs[of][frame];
        {
            use std::io::Write;
            // SAFETY: the user's frame.
            let mut data = unsafe { umem.data_mut(&mut desc) };
            data.cursor().set_pos(0);
            data.cursor().write_all(&packet(self.tag)).unwrap();
        }
        let Part::Tx(tx) = &mut self.parts[at].1 else { unreachable!() };
        // SAFETY: as above.
        assert_eq!(unsafe { tx.produce_one_and_wakeup(&desc) }.unwrap(), 1);
        self.kernel.run_until_idle(1000);
        assert_eq!(self.far.receive(), Some(packet(self.tag)), "what the network gets");
        self.model.sent(number, frame);
    }

    fn complete(&mut self, at: usize) {
        let number = self.parts[at].0;
        let Part::Completion(completion) = &mut self.parts[at].1 else { unreachable!() };
        let mut got = [FrameDesc::default(); FRAMES + 1];
        // SAFETY: one UMEM.
        let count = unsafe { completion.consume(&mut got) };
        let frames: Vec<usize> = got[..count].iter().map(|desc| desc.addr() / 4096).collect();
        assert_eq!(frames, self.model.completed(number));
    }

    /// Does it, and compares what there is.
    pub(crate) fn play(&mut self, op: Op) {
        match op {
            Op::Umem { umem, fails } => self.make_umem(umem, fails),
            Op::CloneUmem { umem } => {
                let clone = self.umems[umem].first().cloned();
                clone.iter().for_each(|_| self.model.cloned(umem));
                self.umems[umem].extend(clone);
            }
            Op::DropUmem { umem } => {
                if self.umems[umem].pop().is_some() {
                    self.model.dropped(umem);
                }
            }
            Op::Open { wish, fails } => self.open(wish, fails),
            Op::DropPart { part, fails } => {
                if !self.parts.is_empty() {
                    self.drop_part(part % self.parts.len(), fails);
                }
            }
            Op::DropSocket { socket } => {
                let mut numbers: Vec<u64> = self.parts.iter().map(|(number, _)| *number).collect();
                numbers.sort_unstable();
                numbers.dedup();
                if !numbers.is_empty() {
                    let number = numbers[socket % numbers.len()];
                    while let Some(at) = self.parts.iter().position(|(of, _)| *of == number) {
                        self.drop_part(at, None);
                    }
                }
            }
            Op::Travel { part } => {
                if !self.parts.is_empty() {
                    self.travel(part % self.parts.len());
                }
            }
            Op::Fill { part } => self.part(part, PartKind::Fill).into_iter().for_each(|at| self.fill(at)),
            Op::Arrive { from } => self.arrive(from),
            Op::Receive { part } => self.part(part, PartKind::Rx).into_iter().for_each(|at| self.receive(at)),
            Op::Send { part } => self.part(part, PartKind::Tx).into_iter().for_each(|at| self.send(at)),
            Op::Complete { part } => {
                self.part(part, PartKind::Completion).into_iter().for_each(|at| self.complete(at));
            }
        }
        self.compare();
    }

    fn compare(&self) {
        self.kernel.run_until_idle(1000);
        let frames = self.kernel.frames();
        frames.check().unwrap();
        let places = [Place::Fill, Place::Rx, Place::Completion].map(|place| frames.count(place));
        assert_eq!(places, self.model.frames(), "frames on the fill, RX and completion rings");
        let elsewhere = [Place::Pool, Place::Kernel, Place::Tx, Place::Lost].map(|place| frames.count(place));
        assert_eq!(elsewhere, [0; 4], "{frames}");
        let snapshot = self.kernel.snapshot();
        let sockets = snapshot.lines().filter(|line| line.starts_with("socket ")).count();
        let (least, most) = self.model.sockets();
        assert!((least..=most).contains(&sockets), "not {least} to {most} sockets: {snapshot}");
        assert_eq!(self.device.info().program.is_some(), self.model.has_program(), "{snapshot}");
    }

    /// Drops all there is.
    pub(crate) fn end(mut self) {
        while !self.parts.is_empty() {
            self.drop_part(self.parts.len() / 2, None);
        }
        self.umems.iter_mut().for_each(Vec::clear);
        self.kernel.run_until_idle(1000);
        let snapshot = self.kernel.snapshot();
        assert!(!snapshot.contains("socket") && !snapshot.contains("umem"), "{snapshot}");
        assert_eq!(self.device.info().program, None);
    }
}
