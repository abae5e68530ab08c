use std::{fmt, io};

/// An error number of the kernel. It prints as `EPERM (1, Operation not permitted)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// The symbolic name (`"EPERM"`), or `None` for a number that no call of this crate is known to return.
    pub fn name(self) -> Option<&'static str> {
        xsk_core::errno::name(self.0)
    }

    /// The number of the last failed call on this thread.
    pub(crate) fn last() -> Self {
        Self::of(&io::Error::last_os_error())
    }

    /// The number within an I/O error; EIO for the few that std makes up itself and that carry none.
    pub(crate) fn of(error: &io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = io::Error::from_raw_os_error(self.0).to_string();
        // std appends " (os error N)", which would say the number twice.
        let text = text.split(" (os error").next().unwrap_or_default();
        write!(f, "{} ({}, {text})", self.name().unwrap_or("errno"), self.0)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_name_number_and_text_once() {
        assert_eq!(Errno(1).to_string(), "EPERM (1, Operation not permitted)");
        assert_eq!(Errno(5000).to_string(), "errno (5000, Unknown error 5000)");
    }
}
