use std::ffi::{CStr, CString, NulError};
use std::str::FromStr;

use crate::error::{Diagnosis, Error, Step};

/// The name of a network interface.
///
/// Any string without a zero byte is taken here; opening a socket says what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Interface(CString);

impl Interface {
    /// An interface of that name.
    pub fn new(name: CString) -> Self {
        Self(name)
    }

    /// An interface of that name. No interface has one with a zero byte in it.
    pub(crate) fn named(name: &str) -> Result<Self, Error> {
        let error = || Error::new(Step::FindInterface, Diagnosis::NoInterface);
        name.parse().map_err(|_: NulError| error().on(name.escape_debug().to_string(), None))
    }

    /// What the kernel takes for a name (`include/uapi/linux/if.h:IFNAMSIZ`).
    pub(crate) fn check(&self) -> Result<(), Error> {
        let len = self.0.as_bytes().len();
        if (1..=15).contains(&len) {
            Ok(())
        } else {
            Err(Error::new(Step::FindInterface, Diagnosis::InterfaceName(len)))
        }
    }

    /// The name, for errors: of one from a file with its line end, say, that is to be seen.
    pub(crate) fn shown(&self) -> String {
        let name = self.0.to_string_lossy();
        let shown: String = name.chars().take(32).flat_map(char::escape_debug).collect();
        let dots = if name.chars().nth(32).is_some() { "..." } else { "" };
        shown + dots
    }

    /// The name.
    pub fn as_c_str(&self) -> &CStr {
        &self.0
    }
}

impl FromStr for Interface {
    type Err = NulError;

    fn from_str(name: &str) -> Result<Self, NulError> {
        CString::new(name).map(Self)
    }
}

impl TryFrom<&[u8]> for Interface {
    type Error = NulError;

    fn try_from(name: &[u8]) -> Result<Self, NulError> {
        CString::new(name).map(Self)
    }
}

impl TryFrom<Vec<u8>> for Interface {
    type Error = NulError;

    fn try_from(name: Vec<u8>) -> Result<Self, NulError> {
        CString::new(name).map(Self)
    }
}
