//! Which thread and panic rules the types keep, checked when this compiles: programs for xsk-rs 0.11 rely on them, and the
//! queues' lack of some is what keeps one thread at a time on a ring.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};

use xsk::backend::{Backend, Mapping};
use xsk::config::{
    BindFlags, FrameSize, FrameSizeError, Interface, LibxdpFlags, QueueSize, QueueSizeError, SocketConfig,
    SocketConfigBuilder, UmemConfig, UmemConfigBuilder, UmemConfigBuilderError, XdpFlags,
};
use xsk::port::{Forwarded, NotSent, PortError, PortRx, PortStats, PortTx, Verdict};
use xsk::socket::{Fd, SocketCreateError, XdpStatistics};
use xsk::umem::UmemCreateError;
use xsk::umem::frame::{Cursor, Data, DataMut, Headroom, HeadroomMut, SegmentLengths};
use xsk::{
    Batch, CompQueue, FillQueue, FrameDesc, Packet, Pool, PoolConfig, Port, PortConfig, RxQueue, Socket,
    TxQueue, Umem,
};

/// Whether a type has a trait: a constant of its own hides that of the trait, and exists only if the bound holds.
macro_rules! has {
    ($type:ty, $bound:path) => {{
        #[allow(dead_code)]
        struct Probe<T: ?Sized>(PhantomData<T>);
        #[allow(dead_code)]
        trait Otherwise {
            const ANSWER: bool = false;
        }
        impl<T: ?Sized> Otherwise for Probe<T> {}
        #[allow(dead_code)]
        impl<T: ?Sized + $bound> Probe<T> {
            const ANSWER: bool = true;
        }
        <Probe<$type>>::ANSWER
    }};
}

/// `y`: has it. `n`: must not have it. `_`: may have it some day.
macro_rules! table {
    ($($type:ty: $send:tt $sync:tt $clone:tt $copy:tt $default:tt $unwind:tt;)*) => {$(
        check!($send, $type, Send);
        check!($sync, $type, Sync);
        check!($clone, $type, Clone);
        check!($copy, $type, Copy);
        check!($default, $type, Default);
        check!($unwind, $type, UnwindSafe);
        check!(y, $type, Debug);
        check!(y, $type, Unpin);
    )*};
}

macro_rules! check {
    (y, $type:ty, $bound:path) => {
        const _: () = assert!(has!($type, $bound), concat!(stringify!($type), " lacks ", stringify!($bound)));
    };
    (n, $type:ty, $bound:path) => {
        const _: () = assert!(!has!($type, $bound), concat!(stringify!($type), " has ", stringify!($bound)));
    };
    (_, $type:ty, $bound:path) => {};
}

#[rustfmt::skip]
table! {
    //                       Send Sync Clone Copy Default UnwindSafe
    Umem:                    y    y    y     n    n       y;
    FrameDesc:               y    y    y     y    y       y;
    SegmentLengths:          y    y    y     y    y       y;
    // Views of frames: what one may write, nobody else may see.
    Headroom<'static>:       y    y    _     _    n       y;
    Data<'static>:           y    y    _     _    n       y;
    HeadroomMut<'static>:    y    y    n     n    n       _;
    DataMut<'static>:        y    y    n     n    n       _;
    Cursor<'static>:         y    y    n     n    n       _;
    Socket:                  y    y    y     n    n       y;
    // One thread at a time on a ring, and one queue for it.
    TxQueue:                 y    n    n     n    n       _;
    RxQueue:                 y    n    n     n    n       _;
    FillQueue:               y    n    n     n    n       _;
    CompQueue:               y    n    n     n    n       _;
    Fd:                      y    y    n     n    n       y;
    XdpStatistics:           y    y    y     y    y       y;
    UmemConfig:              y    y    y     y    y       y;
    SocketConfig:            y    y    y     y    y       y;
    UmemConfigBuilder:       y    y    y     y    y       y;
    SocketConfigBuilder:     y    y    y     y    y       y;
    Interface:               y    y    y     _    _       y;
    QueueSize:               y    y    y     y    _       y;
    FrameSize:               y    y    y     y    _       y;
    LibxdpFlags:             y    y    y     y    _       y;
    XdpFlags:                y    y    y     y    _       y;
    BindFlags:               y    y    y     y    _       y;
    QueueSizeError:          y    y    _     _    _       y;
    FrameSizeError:          y    y    _     _    _       y;
    UmemConfigBuilderError:  y    y    _     _    _       y;
    UmemCreateError:         y    y    _     _    _       _;
    SocketCreateError:       y    y    _     _    _       _;
    // Beyond the ring tier of xsk-rs: a mapping is unmapped once, and a backend is shared by whoever uses it.
    Mapping:                 y    y    n     n    n       y;
    // The port tier: a packet and a port have one owner, and one thread at a time.
    Pool:                    y    y    y     n    n       _;
    Packet:                  y    n    n     n    n       _;
    Batch:                   y    n    n     n    y       _;
    Port:                    y    n    n     n    n       _;
    PortRx:                  y    n    n     n    n       _;
    PortTx:                  y    n    n     n    n       _;
    PortError:               y    y    _     _    n       _;
    NotSent:                 y    n    n     n    n       _;
    PoolConfig:              y    y    y     _    y       y;
    PortConfig:              y    y    y     _    y       y;
    Verdict:                 y    y    y     y    _       y;
    Forwarded:               y    y    y     y    y       y;
    PortStats:               y    y    y     _    y       y;
}

const _: () = assert!(has!(dyn Backend, Send) && has!(dyn Backend, Sync));
const _: () = assert!(has!(dyn Backend, UnwindSafe) && has!(dyn Backend, RefUnwindSafe));

/// A probe that always said yes, or no, would make the table worthless.
#[test]
fn the_probe_can_tell() {
    assert!(has!(std::cell::Cell<u8>, Send) && !has!(std::cell::Cell<u8>, Sync));
    assert!(!has!(std::rc::Rc<u8>, Send) && has!(std::rc::Rc<u8>, Clone) && !has!(std::rc::Rc<u8>, Copy));
    assert!(!has!(&mut u8, UnwindSafe) && has!(u8, UnwindSafe) && has!(u8, Default));
}
