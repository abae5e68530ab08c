//! XDP: programs, the packets they see, their maps, and where they are attached.

mod attach;
mod buff;
mod map;
mod program;

pub(crate) use attach::{Attached, Link, Mode, VETH_MTU_MAX, VETH_MTU_MAX_FRAGS};
pub use buff::{AdjustError, XdpBuff};
pub(crate) use map::XskMap;
pub use program::XdpAction;
pub(crate) use program::{Body, Program, Verdict};
