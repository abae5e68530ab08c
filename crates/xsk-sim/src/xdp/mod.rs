//! XDP: programs, the packets they see, their maps, and where they are attached.

mod attach;
mod buff;
mod map;
mod program;
mod room;

pub(crate) use attach::{Attached, Link, Mode};
pub(crate) use buff::HEAD_MAX;
pub use buff::{AdjustError, XdpBuff};
pub(crate) use map::XskMap;
pub use program::XdpAction;
pub(crate) use program::{Body, Program, Verdict};
pub(crate) use room::PagePool;
