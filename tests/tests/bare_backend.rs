//! A backend with nothing but what it must have: every other method says that it is not there.

use std::ffi::CStr;
use std::io;
use std::time::Duration;

use xsk::backend::*;
use xsk::config::XdpFlags;
use xsk_core::abi::sockaddr_xdp;

#[derive(Debug)]
struct Bare;

fn none<T>() -> io::Result<T> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

impl Backend for Bare {
    fn socket(&self) -> io::Result<Handle> {
        none()
    }
    fn close(&self, _: Handle) {}
    fn setsockopt(&self, _: Handle, _: i32, _: i32, _: &[u8]) -> io::Result<()> {
        none()
    }
    fn getsockopt(&self, _: Handle, _: i32, _: i32, _: &mut [u8]) -> io::Result<usize> {
        none()
    }
    fn bind(&self, _: Handle, _: &sockaddr_xdp) -> io::Result<()> {
        none()
    }
    fn mmap_ring(&self, _: Handle, _: u64, _: usize) -> io::Result<Mapping> {
        none()
    }
    fn mmap_memory(&self, _: usize, _: PageSize) -> io::Result<Mapping> {
        none()
    }
    fn poll(&self, _: &mut [Poll], _: i32) -> io::Result<usize> {
        none()
    }
    fn sendto(&self, _: Handle) -> io::Result<()> {
        none()
    }
    fn recvfrom(&self, _: Handle) -> io::Result<()> {
        none()
    }
    fn interface(&self, _: &CStr) -> io::Result<InterfaceInfo> {
        none()
    }
    fn namespace(&self) -> io::Result<NamespaceId> {
        none()
    }
    fn now(&self) -> Duration {
        Duration::ZERO
    }
    fn sleep(&self, _: Duration) {}
}

#[test]
fn what_is_not_there_is_unsupported() {
    let (one, other) = (Handle(1), Handle(2));
    let interface = InterfaceInfo::new("a", 1);
    let program = RedirectProgram { map: one, frags: false };
    let answers = [
        Bare.xskmap_create(1).err(),
        Bare.xskmap_update(one, 0, other).err(),
        Bare.xskmap_delete(one, 0).err(),
        Bare.program_load(&program).err(),
        Bare.link_create(one, 1, XdpFlags::empty()).err(),
        Bare.link_update(one, other).err(),
        Bare.attach_dispatcher(&interface, XdpFlags::empty()).err(),
        Bare.program_name(1).err(),
        Bare.capabilities().err(),
        Bare.memlock_limit().err(),
        Bare.huge_pages(PageSize::Huge2M).err(),
    ];
    for (i, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.map(|error| error.kind()), Some(io::ErrorKind::Unsupported), "{i}");
    }
    assert_eq!(Bare.fd(one), None);
}

#[test]
fn words_of_the_types() {
    let words = [
        (XdpMode::Native, "native"),
        (XdpMode::Skb, "SKB"),
        (XdpMode::Offloaded, "offloaded"),
        (XdpMode::Multiple, "several"),
    ];
    for (mode, word) in words {
        assert_eq!(mode.to_string(), word);
    }
    let attachment = Attachment { map: Handle(7), keep: Box::new(()) };
    assert_eq!(format!("{attachment:?}"), "Attachment { map: Handle(7), .. }");
}
