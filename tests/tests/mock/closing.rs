//! Calls that closing makes, and that fail: there is nobody to tell, and nothing is left all the same.

use std::sync::Arc;

use xsk::backend::Backend;
use xsk::config::SocketConfig;
use xsk::{Batch, Port, Umem};
use xsk_core::errno::*;

use super::answers::UPDATE;
use super::ledger::{Call, Holds, Ledger};
use super::ports::{config, is_full, try_pool};
use super::sockets::{Opened, open, try_umem};
use super::{fail, faulty, mock};

/// What opens something and closes it, in some order.
type Life = fn(&Arc<dyn Backend>);

fn socket(umem: &Umem, queue: u32) -> Opened {
    open(SocketConfig::default(), umem, "sim0", queue).unwrap()
}

const DELETE: &[i32] = &[ENOENT, EINVAL, EPERM, ENOMEM, EBADF];
const ASK: &[i32] = &[ENXIO, ENETDOWN, EAGAIN, EOPNOTSUPP, EBADF, ENOBUFS];

fn lives() -> Vec<(&'static str, Life)> {
    vec![
        ("a socket, then its UMEM", |backend| {
            let umem = try_umem(backend).unwrap();
            drop(socket(&umem, 0));
        }),
        ("a UMEM, then the queues of its socket one by one", |backend| {
            let umem = try_umem(backend).unwrap();
            let (tx, rx, rings) = socket(&umem, 0);
            let (fill, completion) = rings.unwrap();
            drop(umem);
            drop(completion);
            drop(tx);
            drop(fill);
            drop(rx);
        }),
        ("two sockets of a queue, the first one first", |backend| {
            let umem = try_umem(backend).unwrap();
            let (first, second) = (socket(&umem, 0), socket(&umem, 0));
            drop(first);
            drop((umem, second));
        }),
        ("two sockets of a queue, the second one first", |backend| {
            let umem = try_umem(backend).unwrap();
            let (first, second) = (socket(&umem, 0), socket(&umem, 0));
            drop(second);
            drop((umem, first));
        }),
        ("a port, then its pool", |backend| {
            let pool = try_pool(backend).unwrap();
            drop(Port::open(&pool, "sim0", 1, config()).unwrap());
            is_full(&pool);
        }),
        ("a pool, then its port", |backend| {
            let pool = try_pool(backend).unwrap();
            let port = Port::open(&pool, "sim0", 1, config()).unwrap();
            drop(pool);
            drop(port);
        }),
        ("a port, then the packets that it received", |backend| {
            let pool = try_pool(backend).unwrap();
            let mut port = Port::open(&pool, "sim0", 1, config()).unwrap();
            let packet = port.packet().unwrap();
            drop((pool, port));
            drop(packet);
        }),
        ("the halves of a port, the sending one first", |backend| {
            let pool = try_pool(backend).unwrap();
            let (rx, tx) = Port::open(&pool, "sim0", 1, config()).unwrap().split();
            drop(tx);
            drop(rx);
            is_full(&pool);
        }),
        ("the halves of a port, the receiving one first", |backend| {
            let pool = try_pool(backend).unwrap();
            let (rx, tx) = Port::open(&pool, "sim0", 1, config()).unwrap().split();
            drop(rx);
            drop(tx);
            is_full(&pool);
        }),
        ("the ports of all queues", |backend| {
            let pool = try_pool(backend).unwrap();
            drop(Port::open_all(&pool, "sim2", config()).unwrap());
            is_full(&pool);
        }),
    ]
}

#[test]
fn each_call_of_closing() {
    for (what, life) in lives() {
        // What is called, and how often, between the first handle that closes and the end.
        let ledger = Ledger::new();
        life(&mock(&ledger, |_| {}));
        ledger.nothing_is_left(what);
        let calls = ledger.calls();
        let count = |call: Call| calls.iter().filter(|other| **other == call).count();
        assert!(count(Call::XskmapDelete) > 0, "{what}: the socket is not taken out of the map");
        let updates: Vec<i32> = UPDATE.iter().map(|(errno, _)| *errno).collect();
        // Each socket is put into the map when it opens; what comes on top of that is closing's.
        let opened = count(Call::Bind);
        for (call, first, errnos) in [
            (Call::XskmapDelete, 0, DELETE),
            (Call::XskmapUpdate, opened, &updates),
            (Call::Recvfrom, 0, ASK),
        ] {
            for (nth, errno) in
                (first..count(call)).flat_map(|nth| errnos.iter().map(move |errno| (nth, *errno)))
            {
                let ledger = Ledger::new();
                life(&faulty(&ledger, call, nth, errno));
                ledger.nothing_is_left(&format!("{what}: {call:?}, after {nth} others, with errno {errno}"));
                // Nothing that was not undone is in the way of the next one.
                life(&mock(&ledger, |_| {}));
                ledger.nothing_is_left(what);
            }
        }
    }
}

/// The memory is there as long as a packet is, of however many frames, and goes with the last one.
#[test]
fn the_last_packet_takes_the_memory_with_it() {
    let jumbo = [7; 9014];
    type End = fn(Batch);
    let ends: [(&str, End); 3] = [
        ("one by one", |mut batch| batch.drain().for_each(drop)),
        ("as a batch", drop),
        ("from both ends", |mut batch| {
            drop(batch.remove(0));
            drop(batch.pop());
            batch.clear();
        }),
    ];
    for (what, end) in ends {
        let ledger = Ledger::new();
        ledger.devices.iter().for_each(|device| device.set_mtu(9000).unwrap());
        let backend = mock(&ledger, |_| {});
        let pool = try_pool(&backend).unwrap();
        let mut port = Port::open(&pool, "sim0", 0, config().multi_buffer(true)).unwrap();
        ledger.devices[1].send(&jumbo).unwrap();
        let mut batch = Batch::with_capacity(4);
        (0..3).for_each(|_| batch.push(port.packet().unwrap()).unwrap());
        assert_eq!(port.recv(&mut batch).unwrap(), 1);
        drop((port, pool, backend));
        assert_eq!(ledger.holds(), Holds { memory: 1, ..Holds::default() }, "{what}");
        assert_eq!(batch.iter().map(|packet| packet.total_len()).collect::<Vec<_>>(), [0, 0, 0, 9014]);
        end(batch);
        ledger.nothing_is_left(what);
    }
}

/// A kernel on which nothing that closing does works.
#[test]
fn every_call_of_closing() {
    for (what, life) in lives() {
        let ledger = Ledger::new();
        life(&mock(&ledger, |mock| {
            mock.expect_xskmap_delete().returning(|_, _| fail(EPERM));
            mock.expect_recvfrom().returning(|_| fail(EBADF));
            mock.expect_sendto().returning(|_| fail(EBADF));
        }));
        ledger.nothing_is_left(what);
    }
}
