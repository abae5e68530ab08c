//! Calls from bytes: mostly such as a program makes that gets somewhere, and any others.

use arbitrary::{Arbitrary, Result, Unstructured};
use xsk_core::abi::{
    AF_XDP, SOL_XDP, XDP_COPY, XDP_SHARED_UMEM, XDP_USE_NEED_WAKEUP, XDP_USE_SG, xdp_desc, xdp_umem_reg,
};

use super::vocabulary::op::{MEMORY, Op, Place, RingKind, SOCKETS, SOL_SOCKET, Start, To, UMEMS, With, Word};

pub(super) struct Input {
    pub(super) seed: u64,
    pub(super) profile: u8,
    pub(super) place: Place,
    pub(super) threaded: bool,
    pub(super) settles: bool,
    pub(super) faults: u16,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug)]
pub(super) enum Step {
    Op(Op),
    Run(u8),
    Sleep(u8),
    Wait { s: usize, events: i16, timeout: i8 },
    Attach { end: usize, flags: u32 },
    Detach { end: usize },
}

const RINGS: [RingKind; 4] = [RingKind::Rx, RingKind::Tx, RingKind::Fill, RingKind::Completion];
/// Steps of a history at most, and calls that are written into one.
const STEPS: usize = 200;

/// `None` if the bytes are too few.
pub(super) fn input(data: &[u8]) -> Option<Input> {
    let mut from = From(Unstructured::new(data));
    from.input().ok()
}

struct From<'a>(Unstructured<'a>);

impl From<'_> {
    fn any<T: for<'a> Arbitrary<'a>>(&mut self) -> Result<T> {
        T::arbitrary(&mut self.0)
    }

    fn below(&mut self, limit: usize) -> Result<usize> {
        Ok(usize::from(self.any::<u8>()?) % limit)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> Result<T> {
        Ok(all[self.below(all.len())?])
    }

    /// True as often as one byte of a hundred, or so.
    fn rarely(&mut self) -> Result<bool> {
        Ok(self.any::<u8>()? > 240)
    }

    fn bytes(&mut self, most: usize) -> Result<Vec<u8>> {
        let len = self.below(most + 1)?;
        (0..len).map(|_| self.any()).collect()
    }

    fn socket(&mut self) -> Result<usize> {
        self.below(SOCKETS)
    }

    fn end(&mut self) -> Result<usize> {
        self.below(2)
    }

    fn ring(&mut self) -> Result<RingKind> {
        self.of(&RINGS)
    }

    fn with(&mut self) -> Result<With> {
        let socket = self.socket()?;
        self.of(&[With::Socket(socket), With::Socket(socket), With::Nobody, With::Closed, With::Map])
    }

    fn to(&mut self) -> Result<To> {
        self.of(&[To::End(0), To::End(0), To::End(1), To::Nothing, To::Nobody])
    }

    fn input(&mut self) -> Result<Input> {
        let (seed, profile, shape) = (self.any::<u8>()?.into(), self.any()?, self.any::<u8>()?);
        let queues = [(1, 1), (2, 2), (2, 1)][usize::from(shape >> 4) % 3];
        // Natively no packet is received on more queues than there are to send on.
        let native = shape & 1 == 1 && queues != (2, 1);
        let place = Place { native, sg: shape & 2 != 0, queues };
        let faults = self.any::<u16>()?;
        let mut steps = Vec::new();
        // Most histories begin with a bound socket: from nothing few would get that far.
        if faults >> 15 == 0 {
            self.open(&mut steps, 0, None)?;
        }
        while !self.0.is_empty() && steps.len() < STEPS {
            self.step(&mut steps)?;
        }
        Ok(Input {
            seed,
            profile,
            place,
            threaded: shape & 4 != 0,
            settles: shape & 8 != 0,
            faults: faults & 0x7fff,
            steps,
        })
    }

    /// What a program does to get going: memory, rings, bind, map slot.
    fn open(&mut self, steps: &mut Vec<Step>, s: usize, shares: Option<usize>) -> Result<()> {
        let shape = self.any::<u8>()?;
        let (umem, queue) = (usize::from(shape & 1) % UMEMS, u32::from(shape >> 1 & 1));
        let mut ops = vec![Op::Close { s }];
        let ring = |ring, entries| Op::Ring { s, ring, entries, take: 4 };
        if shares.is_none() {
            let chunk_size = 2048 << (shape >> 2 & 1);
            let reg = xdp_umem_reg { len: MEMORY, chunk_size, ..Default::default() };
            ops.push(Op::Register { s, umem, start: Start::Memory, reg, take: 32 });
            ops.extend([ring(RingKind::Fill, 8), ring(RingKind::Completion, 4)]);
        }
        ops.extend([ring(RingKind::Rx, 8), ring(RingKind::Tx, 8)]);
        let flags = match shares {
            Some(_) => XDP_SHARED_UMEM,
            None => u16::from(shape) & (XDP_COPY | XDP_USE_NEED_WAKEUP) | u16::from(shape >> 7) * XDP_USE_SG,
        };
        let with = shares.map_or(With::Nobody, With::Socket);
        ops.push(Op::Bind { s, family: AF_XDP as u16, to: To::End(0), queue, flags, with });
        ops.push(Op::MapUpdate { s, end: 0, key: queue });
        let frames = (0..8).map(|n| n * 4096).collect();
        ops.push(Op::Fill { s, entries: frames });
        steps.extend(ops.into_iter().map(Step::Op));
        Ok(())
    }

    /// Within the memory or as far behind it, mostly of a packet's length and with options that there are.
    fn desc(&mut self) -> Result<xdp_desc> {
        let (at, odd, len, options) =
            (self.any::<u16>()?, self.any::<u8>()?, self.any::<u16>()?, self.any::<u8>()?);
        Ok(xdp_desc {
            addr: u64::from(at) << 1 | if odd & 0x80 == 0 { 0 } else { u64::from(odd & 0xf) << 52 },
            len: if odd & 0x40 == 0 { u32::from(len % 2048) } else { len.into() },
            options: if odd & 0x20 == 0 { u32::from(options % 4) } else { u32::from(options) << (odd & 0xf) },
        })
    }

    fn step(&mut self, steps: &mut Vec<Step>) -> Result<()> {
        let op = match self.below(40)? {
            0 => {
                let (s, other) = (self.socket()?, self.socket()?);
                let shares = (self.any::<bool>()? && other != s).then_some(other);
                return self.open(steps, s, shares);
            }
            1..=3 => Step::Run(self.any::<u8>()? % 16),
            4 => Step::Sleep(self.any::<u8>()? % 8),
            5 => Step::Wait { s: self.socket()?, events: self.any()?, timeout: self.any()? },
            6 => Step::Attach { end: self.end()?, flags: self.any()? },
            7 => Step::Detach { end: self.end()? },
            other => Step::Op(self.op(other)?),
        };
        steps.push(op);
        Ok(())
    }

    fn op(&mut self, number: usize) -> Result<Op> {
        let s = self.socket()?;
        Ok(match number {
            8..=11 => Op::Send { s, descs: self.descs()?, kick: !self.rarely()? },
            12..=14 => Op::Inject {
                end: self.end()?,
                len: usize::from(self.any::<u16>()?) % 9100,
                count: self.below(4)?,
            },
            15..=16 => Op::Fill { s, entries: self.entries()? },
            17..=18 => Op::Receive { s, max: self.any::<u8>()?.into() },
            19..=20 => Op::Complete { s, max: self.any::<u8>()?.into() },
            21 => self.register(s)?,
            22 => {
                let odd = u32::from(self.rarely()?);
                let entries = (1_u32 << self.below(11)?) + odd;
                Op::Ring { s, ring: self.ring()?, entries, take: if odd == 1 { self.below(9)? } else { 4 } }
            }
            23 => Op::Map { s, offset: self.any()?, len: self.any::<u16>()?.into() },
            24 => Op::Bind {
                s,
                family: if self.rarely()? { self.any()? } else { AF_XDP as u16 },
                to: self.to()?,
                queue: if self.rarely()? { self.any()? } else { self.below(3)? as u32 },
                flags: self.any()?,
                with: self.with()?,
            },
            25 => Op::MapUpdate { s, end: self.end()?, key: self.below(6)? as u32 },
            26 => Op::MapUpdateOdd { end: self.end()?, key: self.below(6)? as u32, with: self.with()? },
            27 => Op::MapDelete { end: self.end()?, key: self.below(6)? as u32 },
            28 => {
                let bytes = self.bytes(24)?;
                Op::Write {
                    umem: self.below(UMEMS)?,
                    at: usize::from(self.any::<u16>()?) % (MEMORY as usize - 24),
                    bytes,
                }
            }
            29 => Op::Rewrite { s, skip: self.below(8)? as u32, desc: self.desc()? },
            30 => Op::Kick { s },
            31 => Op::Wake { s },
            32 => match self.below(3)? {
                0 => Op::PollMany { sockets: vec![s, self.socket()?, s], events: self.any()? },
                _ => Op::Poll { s, events: self.any()? },
            },
            33..=34 => Op::Corrupt {
                s,
                ring: self.ring()?,
                word: self.of(&[Word::Producer, Word::Consumer, Word::Flags])?,
                by: self.any()?,
            },
            35 => {
                let level = self.of(&[SOL_XDP, SOL_XDP, SOL_SOCKET, 0])?;
                let name = i32::from(self.any::<u8>()?);
                // Ring sizes and UMEMs have calls of their own.
                let name = if level == SOL_XDP && (2..=6).contains(&name) { name + 5 } else { name };
                Op::SetOption { s, level, name, value: self.bytes(12)? }
            }
            36 => {
                let level = self.of(&[SOL_XDP, SOL_XDP, SOL_SOCKET, 0])?;
                Op::GetOption { s, level, name: self.below(16)? as i32, len: self.any::<u8>()?.into() }
            }
            37 => match self.below(4)? {
                0 => Op::BindToDevice { s, to: self.to()? },
                1 => Op::Link { end: self.end()?, up: false },
                _ => Op::Link { end: self.end()?, up: true },
            },
            38 => match self.below(4)? {
                0 | 1 => Op::Mtu { end: self.end()?, mtu: self.any::<u16>()?.into() },
                2 => Op::Queues { end: self.end()?, rx: self.below(5)? as u32, tx: self.below(5)? as u32 },
                _ if !self.rarely()? => Op::Kick { s },
                _ if self.any()? => Op::Remove { end: 0 },
                _ => Op::MoveAway { end: 1 },
            },
            _ => match self.below(3)? {
                0 => Op::Close { s },
                1 => Op::CloseMapped { s },
                _ => Op::Unmap,
            },
        })
    }

    fn descs(&mut self) -> Result<Vec<xdp_desc>> {
        let count = self.below(4)? + 1;
        (0..count).map(|_| self.desc()).collect()
    }

    fn entries(&mut self) -> Result<Vec<u64>> {
        let count = self.below(4)? + 1;
        (0..count).map(|_| self.desc().map(|desc| desc.addr)).collect()
    }

    fn register(&mut self, s: usize) -> Result<Op> {
        let start = match self.below(4)? {
            0 => Start::Off(self.any::<u16>()?.into()),
            1 if self.rarely()? => Start::Null,
            _ => Start::Memory,
        };
        let reg = xdp_umem_reg {
            addr: 0,
            len: if self.rarely()? { self.any()? } else { MEMORY - u64::from(self.any::<u8>()? % 4) * 2048 },
            chunk_size: if self.rarely()? { self.any()? } else { self.of(&[2048, 4096, 3000])? },
            headroom: if self.rarely()? { self.any()? } else { self.any::<u8>()?.into() },
            flags: if self.rarely()? { self.any()? } else { u32::from(self.any::<u8>()? % 8) },
            tx_metadata_len: if self.rarely()? { self.any()? } else { self.of(&[0, 16, 24])? },
        };
        let take = self.of(&[32, 32, 32, 28, 24, 23, 40])?;
        Ok(Op::Register { s, umem: self.below(UMEMS)?, start, reg, take })
    }
}
