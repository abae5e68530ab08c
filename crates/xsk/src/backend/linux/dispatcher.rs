//! The default redirect program of libxdp, attached through libxdp's dispatcher.
//!
//! The dispatcher is one XDP program that calls up to ten others in order of their priorities. libxdp replaces it whenever one
//! of the ten comes or goes, and pins them in a BPF file system so that every process finds them.
//!
//! The default program is shared by all processes that use libxdp: a counter among its data says how many users it has. The
//! first user attaches it with the counter at 1, others join it, and the last one detaches it. A user is a socket for libxdp,
//! and a process here; both may mix. This speaks that protocol with libxdp's own parts, because `xsk_setup_xdp_prog` knows no
//! attach mode, has no way back, and leaks a descriptor.

mod home;
mod library;
mod objects;
mod pins;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use self::home::Home;
use self::library::{Library, Mode, Program, Programs};
use self::objects::{Counter, Maps};
use self::pins::Pins;
use super::{facts, handle};
use crate::backend::{Attachment, Capabilities, InterfaceInfo};
use crate::config::XdpFlags;

fn errno(number: libc::c_int) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// Joins the default program of an interface, or attaches one.
pub(super) fn attach(interface: &InterfaceInfo, flags: XdpFlags) -> io::Result<Attachment> {
    let asked = mode(flags)?;
    let ifindex = interface.index.try_into().map_err(|_| errno(libc::ENODEV))?;
    // Programs are found by id. Without the right to do so libxdp fails oddly, and remembers that as the kernel's fault.
    if facts::capabilities().is_ok_and(|has| !has.contains(Capabilities::CAP_SYS_ADMIN)) {
        return Err(errno(libc::EPERM));
    }
    let place = Place { ifindex, pins: Pins::find()?, home: Home::here()? };
    let library = Library::lock();
    let present = library.programs(ifindex)?;
    let mut mode = asked.unwrap_or(Mode::Unspecified);
    if let Some(present) = present {
        let default = present.members().find(|member| member.is_default());
        if default.is_none() && !present.is_dispatcher() {
            return Err(errno(libc::EBUSY));
        }
        if asked.is_some_and(|asked| asked != present.mode()) {
            return Err(errno(libc::EEXIST));
        }
        mode = present.mode();
        if let Some(program) = default.and_then(|member| member.fd())
            && let Some(share) = Share::join(program.try_clone_to_owned()?, &place.pins)?
        {
            return Ok(place.keep(share));
        }
        if !present.is_dispatcher() {
            // A default program that is alone on the interface, and about to be detached.
            return Err(errno(libc::EBUSY));
        }
    }
    let program = library.default_program()?;
    program.size_map(interface.max_queues.max(interface.queues()))?;
    // The dispatcher takes packets of several buffers only if all of its programs do. Ours is not to be the one in the way.
    program.allow_frags();
    program.attach(ifindex, mode)?;
    match Share::of_attached(&library, ifindex, &program) {
        Ok(share) => Ok(place.keep(share)),
        Err(error) => {
            // The first error is the one to tell.
            let _ = library.detach(ifindex, &program);
            Err(error)
        }
    }
}

/// The mode asked for; `None` leaves it to the dispatcher that is there, else to the kernel.
fn mode(flags: XdpFlags) -> io::Result<Option<Mode>> {
    match flags.modes() {
        none if none.is_empty() => Ok(None),
        XdpFlags::XDP_FLAGS_SKB_MODE => Ok(Some(Mode::Skb)),
        XdpFlags::XDP_FLAGS_DRV_MODE => Ok(Some(Mode::Native)),
        _ => Err(errno(libc::EINVAL)),
    }
}

/// Where a program is attached.
#[derive(Debug)]
struct Place {
    ifindex: libc::c_int,
    pins: Pins,
    home: Home,
}

/// A share in a default program.
#[derive(Debug)]
struct Share {
    program: OwnedFd,
    sockets: OwnedFd,
    /// Old versions of libxdp count nothing and never detach.
    counter: Option<Counter>,
}

impl Share {
    /// `None` if the program is not what its name says, or is about to be detached.
    fn join(program: OwnedFd, pins: &Pins) -> io::Result<Option<Self>> {
        let Some(Maps { sockets, counter }) = Maps::of(program.as_fd())? else { return Ok(None) };
        if let Some(counter) = &counter
            && counter.add(1, pins)? == 0
        {
            return Ok(None);
        }
        Ok(Some(Self { program, sockets, counter }))
    }

    /// The share of the one who attached it.
    fn of_attached(library: &Library, ifindex: libc::c_int, program: &Program<'_>) -> io::Result<Self> {
        // Where the dispatcher does not work, libxdp attaches the program alone and says nothing.
        if !library.programs(ifindex)?.as_ref().is_some_and(Programs::is_dispatcher) {
            return Err(errno(libc::ENOSYS));
        }
        let program = program.member().fd().ok_or_else(|| errno(libc::EBADF))?.try_clone_to_owned()?;
        let maps = Maps::of(program.as_fd())?.ok_or_else(|| errno(libc::EBADF))?;
        Ok(Self { program, sockets: maps.sockets, counter: maps.counter })
    }
}

impl Place {
    fn keep(self, share: Share) -> Attachment {
        let Share { program, sockets, counter } = share;
        Attachment { map: handle(sockets), keep: Box::new(Keep { program, counter, place: self }) }
    }
}

/// Keeps a share. Dropping it gives the share back, and detaches the program if it was the last one.
#[derive(Debug)]
struct Keep {
    program: OwnedFd,
    counter: Option<Counter>,
    place: Place,
}

impl Drop for Keep {
    fn drop(&mut self) {
        // There is nobody to tell of a failure here.
        self.place.home.run(|| drop(self.release()));
    }
}

impl Keep {
    fn release(&self) -> io::Result<()> {
        let Some(counter) = &self.counter else { return Ok(()) };
        let Place { ifindex, pins, .. } = &self.place;
        let library = Library::lock();
        if counter.add(-1, pins)? > 0 {
            return Ok(());
        }
        let detached =
            library.program(self.program.as_fd()).and_then(|program| library.detach(*ifindex, &program));
        let Err(error) = detached else { return Ok(()) };
        match library.programs(*ifindex) {
            Ok(None) => pins.forget(*ifindex, self.program.as_fd()),
            Err(gone) if gone.raw_os_error() == Some(libc::ENODEV) => {
                pins.forget(*ifindex, self.program.as_fd())
            }
            _ => Err(error),
        }
    }
}
