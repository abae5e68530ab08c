//! Calls of sockets and ports that are open: no frame is lost, and the error names the step, unless the next try mends it.

use std::sync::Arc;
use std::time::Duration;

use xsk::backend::Backend;
use xsk::error::Step;
use xsk::port::PortError;
use xsk::{Batch, Pool, Port};
use xsk_core::abi::XDP_STATISTICS;
use xsk_core::errno::*;

use super::answers::{MEMORY, OTHER};
use super::ledger::{Call, Ledger};
use super::ports::{config, is_full, try_pool};
use super::{check, faulty};

const GONE: &str = "the interface is gone";
const DOWN: &str = "the interface is down";

/// What a call with a failing kernel says, and another one after it.
type Use = fn(&mut Port) -> Result<(), PortError>;
/// An errno, and the error that comes of it, if one does.
type Outcome = (i32, Option<(Step, &'static str)>);

fn opened(backend: &Arc<dyn Backend>) -> (Port, Pool) {
    let pool = try_pool(backend).unwrap();
    (Port::open(&pool, "sim0", 0, config()).unwrap(), pool)
}

/// A packet, and what the kernel says of sending it.
fn send(port: &mut Port) -> Result<(), PortError> {
    let mut packet = port.packet().expect("a free frame");
    packet.extend_from_slice(&[7; 60]).unwrap();
    port.send_one(packet).expect("room");
    port.flush().map(drop)
}

fn wait(port: &mut Port) -> Result<(), PortError> {
    assert!(!port.wait(Some(Duration::from_millis(1)))?);
    Ok(())
}

#[test]
fn calls_of_an_open_port() {
    let rows: &[(Call, Use, &[Outcome])] = &[
        (
            Call::Poll,
            wait,
            &[
                (EINTR, None),
                (EBADF, Some((Step::Poll, OTHER))),
                (ENOMEM, Some((Step::Poll, MEMORY))),
                (EINVAL, Some((Step::Poll, OTHER))),
            ],
        ),
        (
            Call::Sendto,
            send,
            &[
                (EAGAIN, None),
                (EBUSY, None),
                (ENOBUFS, None),
                (ENETDOWN, None),
                (ENXIO, Some((Step::Wakeup, GONE))),
                (EBADF, Some((Step::Wakeup, OTHER))),
                (EINVAL, Some((Step::Wakeup, OTHER))),
                (EOPNOTSUPP, Some((Step::Wakeup, OTHER))),
            ],
        ),
        (
            Call::Recvfrom,
            wait,
            &[
                (EAGAIN, None),
                (EBADF, None),
                (ENXIO, Some((Step::Poll, GONE))),
                (ENETDOWN, Some((Step::Poll, DOWN))),
            ],
        ),
        (
            Call::Getsockopt(XDP_STATISTICS),
            |port| port.stats().map(drop),
            &[(EINVAL, Some((Step::Statistics, OTHER))), (EFAULT, Some((Step::Statistics, OTHER)))],
        ),
    ];
    for &(call, used, answers) in rows {
        for &(errno, error) in answers {
            let what = format!("{call:?} with errno {errno}");
            let ledger = Ledger::new();
            let backend = faulty(&ledger, call, 0, errno);
            let (mut port, pool) = opened(&backend);
            match (used(&mut port), error) {
                (Err(error), Some((step, telling))) => {
                    check(&error, step, errno, telling);
                    assert_eq!((error.interface(), error.queue()), (Some("sim0"), Some(0)), "{what}");
                }
                (Ok(()), None) => {}
                (result, _) => panic!("{what}: {result:?}"),
            }
            used(&mut port).unwrap_or_else(|error| panic!("{what}, and then: {error}"));
            // It goes on in both directions.
            let mut batch = Batch::with_capacity(8);
            ledger.devices[1].send(&[7; 60]).unwrap();
            assert_eq!(port.recv(&mut batch).unwrap(), 1, "{what}");
            send(&mut port).unwrap();
            assert_eq!(port.flush().unwrap(), 0, "{what}: frames that were sent are not back");
            drop((batch, port));
            is_full(&pool);
            drop((pool, backend));
            ledger.nothing_is_left(&what);
        }
    }
}
