//! The rules of the kernel's observable behaviour, by section.

mod kit;
mod rules;
