//! Small histories in which the kernels once parted, and what Linux does in them.

use xsk_core::abi::{AF_XDP, XDP_COPY, xdp_desc, xdp_umem_reg};

use xsk_tests::calls::op::{History, MEMORY, Op, Place, RingKind, Start, To, With};

const PLAIN: Place = Place { native: false, sg: false, queues: (1, 1) };

/// A socket with all rings, bound to an end and in its map.
fn bound(s: usize, end: usize) -> Vec<Op> {
    let reg = xdp_umem_reg { len: MEMORY, chunk_size: 4096, ..Default::default() };
    let mut ops = vec![Op::Register { s, umem: s, start: Start::Memory, reg, take: 32 }];
    for ring in [RingKind::Rx, RingKind::Tx, RingKind::Fill, RingKind::Completion] {
        ops.push(Op::Ring { s, ring, entries: 8, take: 4 });
    }
    let (family, to, with) = (AF_XDP as u16, To::End(end), With::Nobody);
    ops.push(Op::Bind { s, family, to, queue: 0, flags: XDP_COPY, with });
    ops.push(Op::MapUpdate { s, end, key: 0 });
    ops
}

fn send(s: usize) -> Op {
    Op::Send { s, descs: vec![xdp_desc { addr: 0, len: 60, options: 0 }], kick: true }
}

/// Histories by what Linux does.
pub(crate) fn histories() -> Vec<(&'static str, History)> {
    let moved = Op::MoveAway { end: 1 };
    vec![
        ("an end that was moved to another namespace arrives there down: what is sent to it is dropped", {
            let ops = [bound(0, 0), vec![moved.clone(), send(0), Op::Inject { end: 0, len: 60, count: 1 }]];
            History { place: PLAIN, ops: ops.concat() }
        }),
        ("an end that was moved keeps its native program, which limits the MTU of the end that stayed", {
            let ops = vec![moved, Op::Mtu { end: 0, mtu: 3506 }, Op::Mtu { end: 0, mtu: 3507 }];
            History { place: Place { native: true, ..PLAIN }, ops }
        }),
        ("a native program that takes fragments lets the other end's MTU be more than 65535", {
            let ops = [65536, 73138, 73139].map(|mtu| Op::Mtu { end: 0, mtu });
            History { place: Place { native: true, sg: true, ..PLAIN }, ops: ops.to_vec() }
        }),
        ("a program in SKB mode does not", {
            let ops = [65535, 65536].map(|mtu| Op::Mtu { end: 0, mtu });
            History { place: Place { sg: true, ..PLAIN }, ops: ops.to_vec() }
        }),
        ("a number of queues that is in use already is fine, whatever is bound to them", {
            let mut bind = bound(0, 0);
            bind.iter_mut().for_each(|op| {
                if let Op::Bind { queue, .. } = op {
                    *queue = 1;
                }
            });
            let queues = [(2, 1), (1, 1)].map(|(rx, tx)| Op::Queues { end: 0, rx, tx });
            History { place: Place { queues: (2, 1), ..PLAIN }, ops: [bind, queues.to_vec()].concat() }
        }),
        ("no more queues of a kind can be in use than there are of it", {
            let ops = [(2, 2), (3, 1), (1, 1)].map(|(rx, tx)| Op::Queues { end: 0, rx, tx });
            History { place: Place { queues: (2, 1), ..PLAIN }, ops: ops.to_vec() }
        }),
    ]
}
