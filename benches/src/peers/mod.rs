//! Other AF_XDP libraries, each on sockets of its own.

mod libxdp;
mod xdp;
mod xdpilone;
mod xsk_rs;

use std::ffi::CString;
use std::sync::Arc;

use crate::case::{Case, case};
use crate::counterpart::Counterpart;
use crate::place::Place;
use crate::port;
use crate::rings::{Core, RingTier, User, step};
use crate::traffic::{self, Contestant, Opener};
use libxdp::Libxdp;
use xdp::Xdp;
use xdpilone::Xdpilone;
use xsk_rs::XskRs;

/// The batches of the comparison.
pub const BATCHES: [u32; 2] = [16, 64];
/// The contestant to which the others are compared.
pub const REFERENCE: &str = "C";

fn interface() -> CString {
    CString::new(Place::A).expect("a name without a NUL")
}

/// The four-ring cycle of each contestant at each of [`BATCHES`], the contestants of a batch side by side. No packet may
/// reach the place.
///
/// # Panics
/// If a socket cannot be opened.
pub fn cycles(place: &mut Place) -> Vec<Case> {
    let name = interface();
    let mut cases = Vec::new();
    for batch in BATCHES {
        let user = RingTier::open(Arc::clone(&place.backend), Place::A, place.queue());
        cases.push(cycle(place, "xsk ring tier", batch, user));
        let user = Core::open(Arc::clone(&place.backend), Place::A, place.queue());
        cases.push(cycle(place, "xsk-core", batch, user));
        let open = {
            let queue = place.queue();
            port::open(&place.backend, Place::A, queue)
        };
        cases.push(port::burst(("xsk port, burst", "cycle"), batch, open).for_scale());
        let open = {
            let queue = place.queue();
            port::open(&place.backend, Place::A, queue)
        };
        cases.push(port::owned(("xsk port, owned", "cycle"), batch, open).for_scale());
        let user = Libxdp::<false>::open(&name, place.queue());
        cases.push(cycle(place, REFERENCE, batch, user));
        let user = Libxdp::<true>::open(&name, place.queue());
        cases.push(cycle(place, "C in place", batch, user));
        let user = XskRs::open(Place::A, place.queue());
        cases.push(cycle(place, "xsk-rs", batch, user));
        let user = Xdpilone::<false>::open(&name, place.queue());
        cases.push(cycle(place, "xdpilone", batch, user));
        let user = Xdpilone::<true>::open(&name, place.queue());
        cases.push(cycle(place, "xdpilone in place", batch, user));
        let queue = place.queue();
        cases.push(match batch {
            16 => cycle(place, "xdp", batch, Xdp::<16>::open(&name, queue)),
            64 => cycle(place, "xdp", batch, Xdp::<64>::open(&name, queue)),
            _ => continue,
        });
    }
    cases
}

fn cycle<U: User + 'static>(place: &Place, who: &'static str, batch: u32, user: U) -> Case {
    let kernel = Counterpart::new(&*place.backend, user.socket());
    case(who, "cycle", batch, (user, kernel), step).for_scale()
}

/// Programs of each library that pass packets.
pub const PROGRAMS: [Opener; 4] = [
    |place| {
        let queue = place.queue();
        Contestant::new(REFERENCE, place, queue, Libxdp::<false>::open(&interface(), queue))
    },
    |place| {
        let queue = place.queue();
        Contestant::new("xsk-rs", place, queue, XskRs::open(Place::A, queue))
    },
    |place| {
        let queue = place.queue();
        Contestant::new("xdpilone", place, queue, Xdpilone::<false>::open(&interface(), queue))
    },
    |place| {
        let queue = place.queue();
        let user = Xdp::<{ traffic::BATCH as usize }>::open(&interface(), queue);
        Contestant::new("xdp", place, queue, user)
    },
];
