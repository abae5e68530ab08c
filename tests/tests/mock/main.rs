//! Every call that opening and closing make, of either tier, fails once with each errno that it may give: nothing leaks, the
//! error names the step, and the next attempt succeeds. The calls go to the simulated kernel, which says what is left.

mod answers;
mod closing;
mod ledger;
mod odd_answers;
mod ports;
mod programs;
mod running;
mod sockets;

use std::ffi::CStr;
use std::fmt::{Debug, Display};
use std::io;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use mockall::mock;
use xsk::backend::{
    Attachment, Backend, Capabilities, Handle, HugePages, InterfaceInfo, Mapping, NamespaceId, PageSize,
    Poll, RedirectProgram,
};
use xsk::config::XdpFlags;
use xsk::error::{Error, Step};
use xsk_core::abi::*;
use xsk_core::errno::describe;

use answers::Answers;
use ledger::{Call, Ledger};

mock! {
    #[derive(Debug)]
    Kernel {}

    impl Backend for Kernel {
        fn socket(&self) -> io::Result<Handle>;
        fn close(&self, handle: Handle);
        fn setsockopt(&self, socket: Handle, level: i32, name: i32, value: &[u8]) -> io::Result<()>;
        fn getsockopt(&self, socket: Handle, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize>;
        fn bind(&self, socket: Handle, address: &sockaddr_xdp) -> io::Result<()>;
        fn mmap_ring(&self, socket: Handle, offset: u64, len: usize) -> io::Result<Mapping>;
        fn mmap_memory(&self, len: usize, pages: PageSize) -> io::Result<Mapping>;
        fn poll(&self, polls: &mut [Poll], timeout_ms: i32) -> io::Result<usize>;
        fn sendto(&self, socket: Handle) -> io::Result<()>;
        fn recvfrom(&self, socket: Handle) -> io::Result<()>;
        fn interface(&self, name: &CStr) -> io::Result<InterfaceInfo>;
        fn namespace(&self) -> io::Result<NamespaceId>;
        fn now(&self) -> Duration;
        fn sleep(&self, time: Duration);
        fn fd(&self, socket: Handle) -> Option<i32>;
        fn xskmap_create(&self, entries: u32) -> io::Result<Handle>;
        fn xskmap_update(&self, map: Handle, key: u32, socket: Handle) -> io::Result<()>;
        fn xskmap_delete(&self, map: Handle, key: u32) -> io::Result<()>;
        fn program_load(&self, program: &RedirectProgram) -> io::Result<Handle>;
        fn link_create(&self, program: Handle, ifindex: u32, flags: XdpFlags) -> io::Result<Handle>;
        fn link_update(&self, link: Handle, program: Handle) -> io::Result<()>;
        fn attach_dispatcher(&self, interface: &InterfaceInfo, flags: XdpFlags) -> io::Result<Attachment>;
        fn program_name(&self, id: u32) -> io::Result<String>;
        fn capabilities(&self) -> io::Result<Capabilities>;
        fn memlock_limit(&self) -> io::Result<Option<u64>>;
        fn huge_pages(&self, size: PageSize) -> io::Result<HugePages>;
    }
}

// What mockall keeps is whole after a panic.
impl UnwindSafe for MockKernel {}
impl RefUnwindSafe for MockKernel {}

fn fail<T>(errno: i32) -> io::Result<T> {
    Err(io::Error::from_raw_os_error(errno))
}

/// The kernel behind a mock that lets `call` pass `skip` times and then fails it once.
fn faulty(ledger: &Arc<Ledger>, call: Call, skip: usize, errno: i32) -> Arc<dyn Backend> {
    mock(ledger, |mock| {
        expect(mock, ledger, call, skip, None);
        expect(mock, ledger, call, 1, Some(errno));
    })
}

/// The kernel behind a mock. What is expected `first` comes before it.
fn mock(ledger: &Arc<Ledger>, first: impl FnOnce(&mut MockKernel)) -> Arc<dyn Backend> {
    let mut mock = MockKernel::new();
    first(&mut mock);
    macro_rules! delegate {
        ($($expect:ident => $method:ident($($argument:ident),*);)*) => {$({
            let ledger = Arc::clone(ledger);
            mock.$expect().returning(move |$($argument),*| ledger.$method($($argument),*));
        })*};
    }
    delegate! {
        expect_socket => socket();
        expect_close => close(handle);
        expect_setsockopt => setsockopt(socket, level, name, value);
        expect_getsockopt => getsockopt(socket, level, name, value);
        expect_bind => bind(socket, address);
        expect_mmap_ring => mmap_ring(socket, offset, len);
        expect_mmap_memory => mmap_memory(len, pages);
        expect_poll => poll(polls, timeout);
        expect_sendto => sendto(socket);
        expect_recvfrom => recvfrom(socket);
        expect_interface => interface(name);
        expect_namespace => namespace();
        expect_now => now();
        expect_sleep => sleep(time);
        expect_fd => fd(socket);
        expect_xskmap_create => xskmap_create(entries);
        expect_xskmap_update => xskmap_update(map, key, socket);
        expect_xskmap_delete => xskmap_delete(map, key);
        expect_program_load => program_load(program);
        expect_link_create => link_create(program, ifindex, flags);
        expect_link_update => link_update(link, program);
        expect_attach_dispatcher => attach_dispatcher(interface, flags);
        expect_program_name => program_name(id);
        expect_capabilities => capabilities();
        expect_memlock_limit => memlock_limit();
        expect_huge_pages => huge_pages(size);
    }
    Arc::new(mock)
}

/// The next `times` calls pass, or fail. The mock checks when it is dropped that they were made.
fn expect(mock: &mut MockKernel, ledger: &Arc<Ledger>, call: Call, times: usize, errno: Option<i32>) {
    if times == 0 {
        return;
    }
    let ledger = Arc::clone(ledger);
    macro_rules! answer {
        ($expectation:expr, $method:ident($($argument:ident),*)) => {{
            $expectation.times(times).returning(move |$($argument),*| match errno {
                Some(errno) => fail(errno),
                None => ledger.$method($($argument),*),
            });
        }};
    }
    match call {
        Call::MmapMemory => answer!(mock.expect_mmap_memory(), mmap_memory(len, pages)),
        Call::Namespace => answer!(mock.expect_namespace(), namespace()),
        Call::Socket => answer!(mock.expect_socket(), socket()),
        Call::Setsockopt(option) => {
            let expectation = mock.expect_setsockopt().withf(move |_, _, name, _| *name == option);
            answer!(expectation, setsockopt(socket, level, name, value))
        }
        Call::Getsockopt(option) => {
            let expectation = mock.expect_getsockopt().withf(move |_, _, name, _| *name == option);
            answer!(expectation, getsockopt(socket, level, name, value))
        }
        Call::MmapRing(ring) => {
            let expectation = mock.expect_mmap_ring().withf(move |_, offset, _| *offset == ring);
            answer!(expectation, mmap_ring(socket, offset, len))
        }
        Call::Bind => answer!(mock.expect_bind(), bind(socket, address)),
        Call::Interface => answer!(mock.expect_interface(), interface(name)),
        Call::XskmapCreate => answer!(mock.expect_xskmap_create(), xskmap_create(entries)),
        Call::XskmapUpdate => answer!(mock.expect_xskmap_update(), xskmap_update(map, key, socket)),
        Call::XskmapDelete => answer!(mock.expect_xskmap_delete(), xskmap_delete(map, key)),
        Call::ProgramLoad => answer!(mock.expect_program_load(), program_load(program)),
        Call::LinkCreate => answer!(mock.expect_link_create(), link_create(program, ifindex, flags)),
        Call::LinkUpdate => answer!(mock.expect_link_update(), link_update(link, program)),
        Call::Poll => answer!(mock.expect_poll(), poll(polls, timeout)),
        Call::Sendto => answer!(mock.expect_sendto(), sendto(socket)),
        Call::Recvfrom => answer!(mock.expect_recvfrom(), recvfrom(socket)),
    }
}

/// What comes of a call that fails.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// Opening fails, and names the step.
    Fails(Step),
    /// It is tried again, or one can do without.
    GoesOn,
}

/// The call, how many times it passes before it fails, what comes of it, and with which errnos.
type Row = (Call, usize, Then, Answers);

/// Something that is opened.
struct Path<B, T, E> {
    /// The interface and the queue that errors name.
    on: Option<(&'static str, u32)>,
    /// What is there before.
    before: fn(&Arc<dyn Backend>) -> B,
    open: fn(&B) -> Result<T, E>,
    /// Looks whether what was there before is as it was, after opening failed.
    whole: fn(&B),
    /// Closes what was there before, and looks whether everything came back to it.
    close: fn(B),
}

fn check(error: &Error, step: Step, errno: i32, telling: &str) {
    let text = error.to_string();
    assert_eq!((error.step(), error.errno()), (step, Some(errno)), "{text}");
    assert!(text.starts_with(&step.to_string()) && text.contains(telling), "not `{telling}`: {text}");
    assert!(text.ends_with(&format!("({})", describe(errno))), "{text}");
}

impl<B, T, E: Deref<Target = Error> + Display + Debug> Path<B, T, E> {
    /// Each row with each of its errnos. No call of the path is without a row.
    fn fails_once(&self, rows: &[Row]) {
        self.no_call_is_forgotten(rows);
        self.fails_with(rows);
    }

    fn fails_with(&self, rows: &[Row]) {
        for (row, &(errno, telling)) in
            rows.iter().flat_map(|row| row.3.iter().map(move |answer| (row, answer)))
        {
            let &(call, skip, then, _) = row;
            let what = format!("{call:?}, after {skip} others, with errno {errno}");
            let ledger = Ledger::new();
            let backend = faulty(&ledger, call, skip, errno);
            let before = (self.before)(&backend);
            let (held, frames) = (ledger.holds(), ledger.frames());
            match ((self.open)(&before), then) {
                (Err(error), Then::Fails(step)) => {
                    check(&error, step, errno, telling);
                    assert_eq!(error.interface().zip(error.queue()), self.on, "{error}");
                    // The socket that had the memory registered may be used up; the next one registers it again.
                    let mut now = ledger.holds();
                    now.sockets += usize::from(now.sockets + 1 == held.sockets);
                    assert_eq!(now, held, "{what} leaves something behind");
                    (self.whole)(&before);
                }
                (Ok(opened), Then::GoesOn) => drop(opened),
                (Err(error), Then::GoesOn) => panic!("{what}: {error}"),
                (Ok(_), Then::Fails(_)) => panic!("{what}: nobody noticed"),
            }
            assert_eq!(ledger.frames(), frames, "{what}: where the frames are");
            let opened =
                (self.open)(&before).unwrap_or_else(|error| panic!("{what} fails once, and then: {error}"));
            drop(opened);
            assert_eq!(ledger.frames(), frames, "{what}: where the frames are in the end");
            (self.close)(before);
            drop(backend);
            ledger.nothing_is_left(&what);
        }
    }

    fn no_call_is_forgotten(&self, rows: &[Row]) {
        let ledger = Ledger::new();
        let backend = mock(&ledger, |_| {});
        let before = (self.before)(&backend);
        let earlier = ledger.calls().len();
        drop((self.open)(&before).unwrap());
        let calls = ledger.calls();
        let mut made = 0;
        for (at, call) in calls.iter().enumerate().skip(earlier) {
            if matches!(call, Call::XskmapDelete | Call::Recvfrom) {
                // Those of closing: see `closing`.
                continue;
            }
            let skip = calls[..at].iter().filter(|other| *other == call).count();
            assert!(
                rows.iter().any(|row| (row.0, row.1) == (*call, skip)),
                "no row: {call:?} after {skip} others"
            );
            made += 1;
        }
        assert!(made > 0);
        (self.close)(before);
        drop(backend);
        ledger.nothing_is_left("opening");
    }
}
