//! The test vectors of the kernel's observable behaviour: what Linux 6.18.44 was seen to do.

mod kit;
mod vectors;
