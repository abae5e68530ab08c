//! What other kernels than the default one do: the rows of the profiles.
//!
//! What the default one does is tested where Linux can be asked as well, in the package of tests.

mod page;
mod receive;
mod rows;
mod sequences;
mod transmit;
