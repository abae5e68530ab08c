//! The fuzz targets, each a function of bytes that panics when a law is broken.

pub mod answers;
mod bytes;
pub mod calls;
pub mod captures;
pub mod layouts;
pub mod ports;
pub mod rings;

/// As the files of xsk see it that are compiled here.
mod backend {
    #[allow(unused_imports)]
    pub(crate) use xsk::backend::*;

    /// xsk's own can be made in its crate only.
    #[allow(dead_code)]
    #[derive(Debug)]
    pub(crate) struct InterfaceCounters {
        pub(crate) rx_packets: Option<u64>,
        pub(crate) tx_packets: Option<u64>,
        pub(crate) rx_errors: Option<u64>,
        pub(crate) tx_errors: Option<u64>,
        pub(crate) rx_dropped: Option<u64>,
        pub(crate) tx_dropped: Option<u64>,
        pub(crate) rx_missed: Option<u64>,
        pub(crate) driver: Vec<(String, u64)>,
    }
}
