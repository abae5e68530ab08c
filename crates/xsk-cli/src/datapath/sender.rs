//! The sending half of a port: its TX and completion rings.

use std::io;

use xsk::error::errno;
use xsk::socket::XdpStatistics;
use xsk::{CompQueue, FrameDesc, TxQueue};

use super::pool::Pool;
use super::{Socket, Traffic};

pub(super) struct Sender {
    tx: TxQueue,
    completion: CompQueue,
    socket: Socket,
    /// Entries of the TX ring and of the completion ring, and the most frames that the kernel gets: no completion is ever
    /// without a place then.
    limit: u32,
    /// Frames on the TX ring, with the driver, or on the completion ring.
    pub(super) with_kernel: u32,
    /// Frames to send, while a burst is put together.
    pub(super) outbox: Vec<FrameDesc>,
    submitted: Traffic,
    pub(super) full: u64,
    pub(super) refused: u64,
    /// The kernel gave more frames than it had.
    overdrawn: bool,
}

/// How often a full port is kicked and reaped before packets are dropped.
const RETRIES: u32 = 16;
/// How many passes in a row that send nothing end a kick.
const STUCK: u32 = 3;
/// Descriptors that one pass in copy mode handles on the thriftiest kernels (`net/xdp/xsk.c:TX_BATCH_SIZE`).
const PASS: u32 = 16;

impl Sender {
    pub(super) fn new(tx: TxQueue, completion: CompQueue, socket: Socket, limit: u32) -> Self {
        Self {
            tx,
            completion,
            socket,
            limit,
            with_kernel: 0,
            outbox: Vec::new(),
            submitted: Traffic::default(),
            full: 0,
            refused: 0,
            overdrawn: false,
        }
    }

    /// How many of `want` descriptors it takes now.
    pub(super) fn room(&mut self, want: usize) -> usize {
        let want = u32::try_from(want).unwrap_or(u32::MAX).min(self.limit - self.with_kernel.min(self.limit));
        want.min(self.tx.nb_free(want)) as usize
    }

    /// Takes back what was sent.
    pub(super) fn reap(&mut self, pool: &mut Pool) {
        if self.with_kernel == 0 {
            return;
        }
        let reaped = pool.reap(&mut self.completion);
        self.overdrawn |= reaped > self.with_kernel;
        self.with_kernel = self.with_kernel.saturating_sub(reaped);
    }

    /// Sends the outbox. What finds no place after some retries is dropped and counted; the outbox is empty afterwards, also
    /// on an error.
    pub(super) fn flush(&mut self, pool: &mut Pool) -> io::Result<()> {
        let want = self.outbox.len();
        let mut result = Ok(());
        for _ in 0..RETRIES {
            if self.room(want) == want || result.is_err() {
                break;
            }
            result = self.kick();
            self.reap(pool);
        }
        let fits = match self.room(want) {
            _ if result.is_err() => 0,
            room if room == want => want,
            room => whole_packets(&self.outbox[..room]),
        };
        // SAFETY: descriptors of the module's one UMEM that were in the outbox, each of them once; they leave it below.
        let moved = unsafe { self.tx.produce(&self.outbox[..fits]) };
        self.with_kernel += moved as u32;
        self.submitted.count(&self.outbox[..moved]);
        let mut dropped = Traffic::default();
        dropped.count(&self.outbox[moved..]);
        self.full += dropped.packets;
        pool.put_all(self.outbox.drain(..).skip(moved));
        result.and_then(|()| self.kick())
    }

    /// Entries of the TX ring that the kernel has not taken.
    pub(super) fn unsent(&mut self) -> u32 {
        if self.with_kernel == 0 { 0 } else { self.limit - self.tx.nb_free_exact().min(self.limit) }
    }

    /// Makes the kernel send. In copy mode that is a system call for a few descriptors each: until all are sent, or nothing
    /// moves.
    pub(super) fn kick(&mut self) -> io::Result<()> {
        if self.socket.zero_copy {
            return if self.tx.needs_wakeup() { self.pass() } else { Ok(()) };
        }
        let mut unsent = self.unsent();
        let mut stuck = 0;
        for _ in 0..unsent.div_ceil(PASS) * 2 + STUCK {
            if unsent == 0 || stuck == STUCK {
                break;
            }
            self.pass()?;
            let now = self.unsent();
            stuck = if now < unsent { 0 } else { stuck + 1 };
            unsent = now;
        }
        Ok(())
    }

    fn pass(&mut self) -> io::Result<()> {
        match self.socket.backend.sendto(self.socket.handle) {
            Ok(()) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // More to send, or no memory just now.
                Some(errno::EAGAIN | errno::ENOBUFS) => Ok(()),
                // The driver dropped a packet, which ends the pass (net/xdp/xsk.c:__xsk_generic_xmit).
                Some(errno::EBUSY) => {
                    self.refused += 1;
                    Ok(())
                }
                _ => Err(error),
            },
        }
    }

    /// What the driver took. Of refused packets only the number is known; they count as of average length.
    pub(super) fn sent(&self) -> Traffic {
        let Traffic { packets, bytes } = self.submitted;
        let sent = packets.saturating_sub(self.refused);
        let share = u128::from(bytes) * u128::from(sent) / u128::from(packets.max(1));
        Traffic { packets: sent, bytes: share as u64 }
    }

    /// What went wrong where nothing could be said.
    pub(super) fn check(&mut self) -> io::Result<()> {
        if self.overdrawn {
            return Err(io::Error::other("the kernel gave back more frames than were sent"));
        }
        self.completion.check()
    }

    pub(super) fn statistics(&self) -> Option<XdpStatistics> {
        self.tx.fd().xdp_statistics().ok()
    }

    pub(super) fn explain(&mut self) -> Option<io::Error> {
        self.tx.poll(1).err()
    }
}

impl Traffic {
    fn count(&mut self, descs: &[FrameDesc]) {
        for desc in descs {
            self.bytes += desc.lengths().data() as u64;
            self.packets += u64::from(!desc.has_more_frames());
        }
    }
}

/// How many of `descs` make whole packets.
fn whole_packets(descs: &[FrameDesc]) -> usize {
    descs.iter().rposition(|desc| !desc.has_more_frames()).map_or(0, |last| last + 1)
}
