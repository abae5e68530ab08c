//! Other AF_XDP libraries, each on the rings of a socket of its own, in a private network where no packet moves.

mod libxdp;
mod xdp;
mod xdpilone;
mod xsk_rs;

use std::ffi::CString;
use std::sync::Arc;

use ::xsk::backend::{Backend, Linux};
use xsk_veth::{Error, Guard, Namespace, VethPair};

use crate::case::{Case, case};
use crate::counterpart::Counterpart;
use crate::rings::{Core, RingTier, User, step};
use libxdp::Libxdp;
use xdp::Xdp;
use xdpilone::Xdpilone;
use xsk_rs::XskRs;

/// The batches of the comparison.
pub const BATCHES: [u32; 2] = [16, 64];
/// The contestant to which the others are compared.
pub const REFERENCE: &str = "C";

/// A network in which the calling thread is as long as this lives.
#[derive(Debug)]
pub struct Network {
    _guard: Guard,
    pair: VethPair,
    backend: Arc<dyn Backend>,
    queues: u32,
}

impl Network {
    /// Makes one.
    ///
    /// # Errors
    /// Without the rights to, or the devices.
    pub fn new() -> Result<Self, Error> {
        let ns = Namespace::new()?;
        let guard = ns.enter()?;
        let pair = VethPair::builder(&ns, &ns).queues(32).build()?;
        Ok(Self { _guard: guard, pair, backend: Arc::new(Linux::new()), queues: 0 })
    }

    /// The four-ring cycle of each contestant at each of [`BATCHES`], the contestants of a batch side by side.
    ///
    /// # Panics
    /// If a socket cannot be opened.
    pub fn cycles(&mut self) -> Vec<Case> {
        let name = self.pair.a.name().to_owned();
        let c_name = CString::new(name.clone()).expect("a name without a NUL");
        let mut cases = Vec::new();
        for batch in BATCHES {
            let user = RingTier::open(Arc::clone(&self.backend), &name, self.queue());
            cases.push(self.cycle("xsk ring tier", batch, user));
            let user = Core::open(Arc::clone(&self.backend), &name, self.queue());
            cases.push(self.cycle("xsk-core", batch, user));
            let user = Libxdp::<false>::open(&c_name, self.queue());
            cases.push(self.cycle(REFERENCE, batch, user));
            let user = Libxdp::<true>::open(&c_name, self.queue());
            cases.push(self.cycle("C in place", batch, user));
            let user = XskRs::open(&name, self.queue());
            cases.push(self.cycle("xsk-rs", batch, user));
            let user = Xdpilone::<false>::open(&c_name, self.queue());
            cases.push(self.cycle("xdpilone", batch, user));
            let user = Xdpilone::<true>::open(&c_name, self.queue());
            cases.push(self.cycle("xdpilone in place", batch, user));
            let queue = self.queue();
            cases.push(match batch {
                16 => self.cycle("xdp", batch, Xdp::<16>::open(&c_name, queue)),
                64 => self.cycle("xdp", batch, Xdp::<64>::open(&c_name, queue)),
                _ => continue,
            });
        }
        cases
    }

    /// A queue that no socket has.
    fn queue(&mut self) -> u32 {
        self.queues += 1;
        self.queues - 1
    }

    fn cycle<U: User + 'static>(&self, who: &'static str, batch: u32, user: U) -> Case {
        let kernel = Counterpart::new(&*self.backend, user.socket());
        case(who, "cycle", batch, (user, kernel), step).for_scale()
    }
}
