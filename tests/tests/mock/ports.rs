//! Opening pools and ports.

use std::sync::Arc;

use xsk::backend::Backend;
use xsk::error::Step;
use xsk::port::{Mode, PortError};
use xsk::{Pool, PoolConfig, Port, PortConfig};
use xsk_core::abi::*;
use xsk_core::errno::*;

use super::Then::{Fails, GoesOn};
use super::answers::*;
use super::ledger::{Call, Ledger};
use super::sockets::{first_socket, making_memory, program};
use super::{Path, Row, check, expect, faulty, mock};

/// Frames of the pool.
const FRAMES: u32 = 64;

pub(crate) fn try_pool(backend: &Arc<dyn Backend>) -> Result<Pool, PortError> {
    Pool::new_in(Arc::clone(backend), PoolConfig::default().frames(FRAMES))
}

pub(crate) fn config() -> PortConfig {
    PortConfig::default().rx_ring(8).tx_ring(8).fill_ring(8).completion_ring(8)
}

/// Every frame came back: each can be taken, and none twice.
pub(crate) fn is_full(pool: &Pool) {
    assert_eq!((pool.with_kernel(), pool.quarantined()), (0, 0));
    let mut packets: Vec<_> = std::iter::from_fn(|| pool.packet()).collect();
    assert_eq!(packets.len(), FRAMES as usize, "frames are lost, or there twice");
    packets.iter_mut().for_each(|packet| packet.extend_from_slice(&[7; 60]).unwrap());
    packets.sort_by_key(|packet| packet.as_ptr());
    assert!(packets.windows(2).all(|pair| pair[0].as_ptr() != pair[1].as_ptr()));
}

fn close(pool: Pool) {
    is_full(&pool);
}

/// A port is a socket that asks how it was bound.
fn port_on(nth: usize, looked: usize, bind: Answers) -> Vec<Row> {
    let options = (Call::Getsockopt(XDP_OPTIONS), nth, GoesOn, OPTIONS);
    [first_socket(nth, looked, bind), vec![options]].concat()
}

const PORT_BIND: Answers = &[
    (EINVAL, OTHER),
    (ENODEV, "there is no such interface"),
    (EOPNOTSUPP, "has no zero copy here"),
    (ENETDOWN, "the interface is down"),
    (ENXIO, "with flags XDP_USE_NEED_WAKEUP"),
    (ENOMEM, MEMORY),
];

#[test]
fn making_a_pool() {
    Path { on: None, before: Arc::clone, open: try_pool, whole: |_| {}, close: drop }
        .fails_once(&making_memory());
}

#[test]
fn one_port() {
    let path = Path {
        on: Some(("sim0", 1)),
        before: |backend| try_pool(backend).unwrap(),
        open: |pool| Port::open(pool, "sim0", 1, config()),
        whole: is_full,
        close,
    };
    path.fails_once(&[port_on(0, 0, PORT_BIND), program(0, 1)].concat());
    // And if its halves are closed one after the other.
    let path = Path {
        open: |pool| Ok::<_, PortError>(Port::open(pool, "sim0", 1, config())?.split()),
        ..path_of(path)
    };
    path.fails_once(&[port_on(0, 0, PORT_BIND), program(0, 1)].concat());
}

/// The same path, for another thing to be opened.
fn path_of<T, U>(path: Path<Pool, T, PortError>) -> Path<Pool, U, PortError> {
    Path { on: path.on, before: path.before, open: |_| unreachable!(), whole: path.whole, close: path.close }
}

#[test]
fn a_port_beside_another() {
    let path = Path {
        on: Some(("sim0", 1)),
        before: |backend| {
            let pool = try_pool(backend).unwrap();
            (Port::open(&pool, "sim0", 0, config()).unwrap(), pool)
        },
        open: |(_, pool)| Port::open(pool, "sim0", 1, config()),
        whole: |(_, pool)| assert_eq!((pool.with_kernel(), pool.quarantined()), (8, 0)),
        close: |(port, pool)| {
            drop(port);
            is_full(&pool);
        },
    };
    let socket = (Call::Socket, 1, Fails(Step::CreateSocket), SOCKET);
    path.fails_once(&[port_on(1, 2, SHARING_BIND), vec![socket]].concat());
}

/// All or none: those that were open already are closed.
#[test]
fn a_port_on_each_queue() {
    let ports = |pool: &Pool| Port::open_all(pool, "sim2", config());
    let path = Path {
        on: None,
        before: |backend| try_pool(backend).unwrap(),
        open: |pool| Port::open_all(pool, "sim2", config()),
        whole: is_full,
        close,
    };
    let mut rows = vec![(Call::Interface, 0, Fails(Step::FindInterface), LOOK)];
    // The first queue attaches the program, and looks at the interface once more for that.
    rows.extend(port_on(0, 1, PORT_BIND));
    rows.extend(program(0, 2));
    for queue in 1..4 {
        rows.extend(port_on(queue, 2 + queue, SHARING_BIND));
        rows.push((Call::Socket, queue, Fails(Step::CreateSocket), SOCKET));
    }
    path.no_call_is_forgotten(&rows);
    for (row, &(errno, telling)) in rows.iter().flat_map(|row| row.3.iter().map(move |answer| (row, answer)))
    {
        let &(call, skip, then, _) = row;
        let what = format!("{call:?}, after {skip} others, with errno {errno}");
        let ledger = Ledger::new();
        let backend = faulty(&ledger, call, skip, errno);
        let pool = try_pool(&backend).unwrap();
        match (ports(&pool), then) {
            (Err(error), Fails(step)) => {
                check(&error, step, errno, telling);
                assert_eq!(error.interface(), Some("sim2"), "{what}");
                let queue =
                    if (call, skip) == (Call::Interface, 0) { None } else { Some(queue_of(call, skip)) };
                assert_eq!(error.queue(), queue, "{what}: {error}");
                is_full(&pool);
            }
            (Ok(ports), GoesOn) => {
                let unknown = matches!(call, Call::Getsockopt(XDP_OPTIONS)).then_some(skip);
                for (queue, port) in ports.iter().enumerate() {
                    let mode = if unknown == Some(queue) { Mode::ZeroCopy } else { Mode::Copy };
                    assert_eq!(port.mode(), mode, "{what}: queue {queue}");
                }
            }
            (result, then) => panic!("{what}: {then:?}, and {:?}", result.map(drop)),
        }
        // Nothing but the memory, and perhaps its registration.
        let mut held = ledger.holds();
        held.sockets = 0;
        assert_eq!(held, super::ledger::Holds { memory: 1, ..Default::default() }, "{what}");
        assert_eq!(ledger.frames(), [0; 7], "{what}");
        assert_eq!(ports(&pool).unwrap().len(), 4, "{what}");
        close(pool);
        drop(backend);
        ledger.nothing_is_left(&what);
    }
}

/// The queue whose call it is: each makes it once, but for looking at the interface.
fn queue_of(call: Call, skip: usize) -> u32 {
    match call {
        Call::Interface => skip.saturating_sub(2) as u32,
        Call::Namespace => skip as u32 - 1,
        _ => skip as u32,
    }
}

/// If nobody knows whether a device may still write frames, they are kept until their queue is released, also if the socket
/// that had them failed later.
#[test]
fn frames_of_a_mode_that_is_not_known() {
    let ledger = Ledger::new();
    let backend = mock(&ledger, |mock| {
        expect(mock, &ledger, Call::Getsockopt(XDP_MMAP_OFFSETS), 1, None);
        expect(mock, &ledger, Call::Getsockopt(XDP_OPTIONS), 1, Some(ENOPROTOOPT));
        expect(mock, &ledger, Call::LinkCreate, 1, Some(EPERM));
    });
    let pool = try_pool(&backend).unwrap();
    let error = Port::open(&pool, "sim0", 0, config()).unwrap_err();
    assert_eq!(error.step(), Step::AttachProgram);
    assert_eq!((pool.with_kernel(), pool.quarantined()), (8, 8));
    // Not by opening another queue.
    drop(Port::open(&pool, "sim0", 1, config()).unwrap());
    assert_eq!(pool.quarantined(), 8);
    drop(Port::open(&pool, "sim0", 0, config()).unwrap());
    close(pool);
    drop((error, backend));
    ledger.nothing_is_left("an unknown mode");
}
