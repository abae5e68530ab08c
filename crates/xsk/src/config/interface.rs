use std::ffi::{CStr, CString, NulError};
use std::str::FromStr;

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
