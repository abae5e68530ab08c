//! Sequences of descriptors, and what successive kicks come to.

use xsk_core::abi::xdp_desc;

use super::{RawSocket, Setup, frame};
use crate::world::{End, World};

/// A descriptor of a sequence: good, bad (of length 0), and either with more to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum D {
    G,
    B,
    C,
    BC,
    /// 100 bytes with more to come, and the last of such.
    Frag,
    End,
}
/// What one kick comes to: errno, consumer index, what was completed (positions in the sequence), invalid descriptors so far.
pub type Kick<'a> = (i32, u32, &'a [u64], u64);

/// Bytes between the frames of a sequence.
pub const STEP: u64 = 0x1000;

/// Opens a socket with a sequence in its TX ring. Sequences longer than the UMEM use its frames again.
pub fn load(world: &dyn World, sequence: &[D], completion: u32) -> RawSocket {
    let socket = RawSocket::open(world, &Setup { completion, ..Setup::default() });
    for chunk in 0..64 {
        socket.write(chunk * STEP, &frame(100, chunk as u8));
    }
    let descs = sequence.iter().enumerate().map(|(i, d)| {
        let (len, options) = match d {
            D::G => (60, 0),
            D::B => (0, 0),
            D::C => (60, 1),
            D::BC => (0, 1),
            D::Frag => (100, 1),
            D::End => (100, 0),
        };
        xdp_desc { addr: i as u64 * STEP, len, options }
    });
    socket.tx().push(descs);
    socket
}

/// Kicks, and compares.
pub fn kick(socket: &RawSocket, n: usize, (errno, consumer, completed, invalid): Kick<'_>) {
    assert_eq!(socket.kick(), errno, "kick {n}");
    assert_eq!(socket.tx().consumer(), consumer, "consumer after kick {n}");
    let completed: Vec<u64> = completed.iter().map(|i| i * STEP).collect();
    assert_eq!(socket.completion().pop_all::<u64>(), completed, "completions of kick {n}");
    assert_eq!(socket.statistics().tx_invalid_descs, invalid, "invalid after kick {n}");
}

pub fn lengths(world: &dyn World) -> Vec<usize> {
    std::iter::from_fn(|| world.receive(End::B)).map(|frame| frame.len()).collect()
}

/// Runs a sequence, with completions reaped after each kick.
pub fn run(world: &dyn World, sequence: &[D], kicks: &[Kick<'_>], received: &[usize]) {
    let socket = load(world, sequence, 64);
    for (n, expected) in kicks.iter().enumerate() {
        kick(&socket, n + 1, *expected);
    }
    assert_eq!(lengths(world), received, "{sequence:?}");
}
