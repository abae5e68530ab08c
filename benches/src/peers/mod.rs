//! Other AF_XDP libraries, each on sockets of its own.

mod libxdp;
mod xdp;
mod xdpilone;
mod xsk_rs;

use std::sync::Arc;

use crate::case::{Case, case};
use crate::counterpart::Counterpart;
use crate::place::{Place, Target};
use crate::port;
use crate::rings::{Core, RingTier, Shape, User, step};
use crate::traffic::{self, Contestant, Opener};
use libxdp::Libxdp;
use xdp::Xdp;
use xdpilone::Xdpilone;
use xsk::backend::Backend;
use xsk_rs::XskRs;

/// The batches of the comparison.
pub const BATCHES: [u32; 2] = [16, 64];
/// The contestant to which the others are compared.
pub const REFERENCE: &str = "C";

/// The four-ring cycle of each contestant at each of [`BATCHES`], the contestants of a batch side by side. No packet may
/// reach the place.
///
/// # Panics
/// If a socket cannot be opened.
pub fn cycles(place: &mut Place) -> Vec<Case> {
    let name = place.target(0).interface.to_owned();
    let mut cases = Vec::new();
    for batch in BATCHES {
        let user = RingTier::open_as(backend(place), next(place), Shape::default());
        cases.push(cycle(place, "xsk ring tier", batch, user));
        let user = Core::open(backend(place), &name, place.queue());
        cases.push(cycle(place, "xsk-core", batch, user));
        let open = {
            let queue = place.queue();
            port::open(&place.backend, &name, queue)
        };
        cases.push(port::burst(("xsk port, burst", "cycle"), batch, open).for_scale());
        let open = {
            let queue = place.queue();
            port::open(&place.backend, &name, queue)
        };
        cases.push(port::owned(("xsk port, owned", "cycle"), batch, open).for_scale());
        let user = Libxdp::<false>::open(next(place));
        cases.push(cycle(place, REFERENCE, batch, user));
        let user = Libxdp::<true>::open(next(place));
        cases.push(cycle(place, "C in place", batch, user));
        let user = XskRs::open(next(place));
        cases.push(cycle(place, "xsk-rs", batch, user));
        let user = Xdpilone::<false>::open(next(place));
        cases.push(cycle(place, "xdpilone", batch, user));
        let user = Xdpilone::<true>::open(next(place));
        cases.push(cycle(place, "xdpilone in place", batch, user));
        cases.push(match batch {
            16 => {
                let user = Xdp::<16>::open(next(place));
                cycle(place, "xdp", batch, user)
            }
            64 => {
                let user = Xdp::<64>::open(next(place));
                cycle(place, "xdp", batch, user)
            }
            _ => continue,
        });
    }
    cases
}

fn backend(place: &Place) -> Arc<dyn Backend> {
    Arc::clone(&place.backend)
}

/// A queue that nobody has.
fn next(place: &mut Place) -> Target<'_> {
    let queue = place.queue();
    place.target(queue)
}

fn cycle<U: User + 'static>(place: &Place, who: &'static str, batch: u32, user: U) -> Case {
    let kernel = Counterpart::new(&*place.backend, user.socket());
    case(who, "cycle", batch, (user, kernel), step).for_scale()
}

/// Programs of each library that pass packets.
pub const PROGRAMS: [Opener; 4] = [
    (REFERENCE, |place, target| {
        Contestant::of_rings(REFERENCE, place, target, Libxdp::<false>::open(target))
    }),
    ("xsk-rs", |place, target| Contestant::of_rings("xsk-rs", place, target, XskRs::open(target))),
    ("xdpilone", |place, target| {
        Contestant::of_rings("xdpilone", place, target, Xdpilone::<false>::open(target))
    }),
    ("xdp", |place, target| {
        Contestant::of_rings("xdp", place, target, Xdp::<{ traffic::BATCH as usize }>::open(target))
    }),
];
