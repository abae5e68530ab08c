//! One vocabulary of calls, and who does them: random histories on two kernels (`ci/differential`), and fuzzing (`ci/fuzz`,
//! whose package compiles these files as its own).
#![allow(missing_docs, reason = "the calls and their arguments are named as Linux names them")]

pub mod net;
pub mod op;
pub mod player;
mod ring;
