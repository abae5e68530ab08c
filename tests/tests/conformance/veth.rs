//! Linux, with a veth pair in a network namespace of its own.

use std::ffi::CString;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::sync::Arc;
use std::time::Duration;

use xsk::backend::{Backend, Handle, Linux};
use xsk::config::XdpFlags;
use xsk_tests::bpf;
use xsk_veth::{Namespace, Tap, VethEnd, VethPair};

use crate::world::{End, Program, World};

pub struct VethWorld {
    pair: VethPair,
    taps: [Tap; 2],
    mode: XdpFlags,
}

impl VethWorld {
    /// Runs `body` inside the namespace.
    pub fn run(mode: XdpFlags, mtu: u32, body: impl FnOnce(&dyn World) + Send) {
        let ns = Namespace::new().expect("a namespace");
        let pair = VethPair::builder(&ns, &ns).mtu(mtu).build().expect("a pair");
        let tap = |end: &VethEnd| Tap::open(&ns, end.name()).expect("a tap");
        let taps = [tap(&pair.a), tap(&pair.b)];
        let world = Self { pair, taps, mode };
        ns.run(|| body(&world));
    }

    fn end(&self, end: End) -> (&VethEnd, &Tap) {
        match end {
            End::A => (&self.pair.a, &self.taps[0]),
            End::B => (&self.pair.b, &self.taps[1]),
        }
    }
}

impl World for VethWorld {
    fn kernel(&self) -> Arc<dyn Backend> {
        Arc::new(Linux::new())
    }

    fn mode(&self) -> XdpFlags {
        self.mode
    }

    fn name(&self, end: End) -> CString {
        CString::new(self.end(end).0.name()).expect("a name")
    }

    fn program(&self, program: Program, map: Handle) -> Handle {
        let counter = bpf::counter().expect("an array map");
        let instructions = assemble(program, map, counter.as_raw_fd());
        // Handles of this backend are descriptors, and it closes them. The program keeps the counter.
        Handle(bpf::load(&instructions, true).expect("a program").into_raw_fd())
    }

    fn send(&self, end: End, frame: &[u8]) {
        self.end(end).1.send(frame).expect("the frame fits the link");
    }

    fn receive(&self, end: End) -> Option<Vec<u8>> {
        self.end(end).1.recv(Duration::from_millis(500)).expect("a tap")
    }

    fn refuses_ring_parameters(&self) -> Option<i32> {
        const SIOCETHTOOL: libc::Ioctl = 0x8946;
        const ETHTOOL_GRINGPARAM: u32 = 0x10;
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        // struct ethtool_ringparam: the command and eight numbers.
        let mut parameters = [ETHTOOL_GRINGPARAM, 0, 0, 0, 0, 0, 0, 0, 0];
        // SAFETY: ifreq is plain old data, of which all zeros are a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(self.name(End::A).to_bytes()) {
            *to = *from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = parameters.as_mut_ptr().cast();
        // SAFETY: a whole ifreq, whose data is the whole struct of its command; both live through the call.
        let answer = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        if answer == 0 { None } else { std::io::Error::last_os_error().raw_os_error() }
    }

    fn concurrent(&self) -> bool {
        true
    }

    fn settle(&self) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An instruction as in the kernel's `struct bpf_insn`.
fn op(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> u64 {
    u64::from(code)
        | u64::from(to) << 8
        | u64::from(from) << 12
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(immediate.cast_unsigned()) << 32
}

/// The instructions of a program. Registers: r1 is the context at first, r2 the slot at the end.
fn assemble(program: Program, map: Handle, counter: i32) -> Vec<u64> {
    const DROP: i32 = 1;
    const REDIRECT_MAP: i32 = 51;
    const ADJUST_META: i32 = 54;
    const ADJUST_TAIL: i32 = 65;
    let set = |to, value| op(0xb7, to, 0, 0, value);
    let copy = |to, from| op(0xbf, to, from, 0, 0);
    let add = |to, value| op(0x07, to, 0, 0, value);
    let load_byte = |to, from, offset| op(0x71, to, from, offset, 0);
    let load_word = |to, from, offset| op(0x61, to, from, offset, 0);
    let load_double = |to, from| op(0x79, to, from, 0, 0);
    let store_double = |to, from| op(0x7b, to, from, 0, 0);
    // Skip so many instructions if ...
    let if_zero = |register, skip| op(0x15, register, 0, skip, 0);
    let if_not_greater = |left, right, skip| op(0xbd, left, right, skip, 0);
    let call = |function| op(0x85, 0, 0, 0, function);
    let exit = || op(0x95, 0, 0, 0, 0);
    // Of two words: a map, and the value in an array.
    let map_in = |to| [op(0x18, to, 1, 0, map.0), 0];
    let counter_in = |to| [op(0x18, to, 2, 0, counter), 0];
    let drop = [set(0, DROP), exit()];

    let mut code = match program {
        Program::Redirect => vec![set(2, 0)],
        Program::DropHalf => [
            &counter_in(1)[..],
            &[load_double(2, 1), copy(3, 2), add(3, 1), store_double(1, 3)],
            &[op(0x57, 2, 0, 0, 1), if_zero(2, 2)],
            &drop,
            &[set(2, 0)],
        ]
        .concat(),
        Program::ByAddress => [
            &[load_word(2, 1, 0), load_word(3, 1, 4), copy(4, 2), add(4, 6), if_not_greater(4, 3, 2)][..],
            &drop,
            &[load_byte(2, 2, 5), op(0x77, 2, 0, 0, 1)],
        ]
        .concat(),
        Program::CountInMetadata => [
            &[copy(6, 1), set(2, -8), call(ADJUST_META), if_zero(0, 2)][..],
            &drop,
            // The metadata ends where the packet starts.
            &[load_word(2, 6, 8), load_word(3, 6, 0), copy(4, 2), add(4, 8), if_not_greater(4, 3, 2)],
            &drop,
            &counter_in(1),
            &[load_double(5, 1), store_double(2, 5), add(5, 1), store_double(1, 5), set(2, 0)],
        ]
        .concat(),
        Program::AdjustTail(delta) => vec![set(2, delta), call(ADJUST_TAIL), set(2, 0)],
    };
    code.extend(map_in(1));
    code.extend([set(3, DROP), call(REDIRECT_MAP), exit()]);
    code
}
