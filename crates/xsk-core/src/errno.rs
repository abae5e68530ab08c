//! Linux's error numbers by name, for kernels of every kind, on whatever system they run.

use core::fmt;

macro_rules! errnos {
    ($($name:ident = $number:literal),* $(,)?) => {
        $(#[doc = concat!("Linux's number ", $number, ".")] pub const $name: i32 = $number;)*
        const ALL: &[(i32, &str)] = &[$(($number, stringify!($name))),*];
    };
}

errnos! {
    EPERM = 1, ENOENT = 2, ESRCH = 3, EINTR = 4, EIO = 5, ENXIO = 6, E2BIG = 7, EBADF = 9, EAGAIN = 11, ENOMEM = 12, EACCES = 13,
    EFAULT = 14, EBUSY = 16, EEXIST = 17, ENODEV = 19, ENOTDIR = 20, EINVAL = 22, ENFILE = 23, EMFILE = 24, ENOSPC = 28, EROFS = 30, ERANGE = 34,
    ENAMETOOLONG = 36, ENOSYS = 38, ENOLINK = 67, EUSERS = 87, ENOTSOCK = 88, EMSGSIZE = 90, ENOPROTOOPT = 92, EPROTONOSUPPORT = 93,
    ESOCKTNOSUPPORT = 94, EOPNOTSUPP = 95, EAFNOSUPPORT = 97, EADDRINUSE = 98, EADDRNOTAVAIL = 99, ENETDOWN = 100, ENETUNREACH = 101,
    ENOBUFS = 105, ENOTCONN = 107, ETIMEDOUT = 110,
}

/// The name of an errno that network and BPF calls give.
pub fn name(errno: i32) -> Option<&'static str> {
    ALL.iter().find(|(number, _)| *number == errno).map(|(_, name)| *name)
}

/// An errno for people: `EBUSY 16`, or `errno 4095` for one without a name here.
pub fn describe(errno: i32) -> impl fmt::Display {
    struct Described(i32);
    impl fmt::Display for Described {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match name(self.0) {
                Some(name) => write!(f, "{name} {}", self.0),
                None => write!(f, "errno {}", self.0),
            }
        }
    }
    Described(errno)
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn unknown_numbers_stay_numbers() {
        assert_eq!(describe(EBUSY).to_string(), "EBUSY 16");
        assert_eq!(describe(4095).to_string(), "errno 4095");
    }
}
