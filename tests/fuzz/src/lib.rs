//! The fuzz targets, each a function of bytes that panics when a law is broken.

pub mod answers;
mod bytes;
pub mod calls;
pub mod captures;
pub mod layouts;
pub mod rings;

/// As the files of xsk see it that are compiled here.
mod backend {
    pub(crate) use xsk::backend::{AttachedProgram, DriverFeatures, XdpMode};
}
