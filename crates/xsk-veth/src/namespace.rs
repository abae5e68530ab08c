use std::{
    fs, io,
    marker::PhantomData,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    process::Command,
    sync::Arc,
    thread,
};

use netlink_packet_route::link::LinkFlags;

use crate::{
    Child, Error, Link,
    link::{self, Which},
    netlink::{Route, Step},
    process,
};

/// `lo` has this index in every namespace {net/core/dev.h: LOOPBACK_IFINDEX}.
const LOOPBACK: u32 = 1;

/// A private network namespace: its own interfaces, addresses, neighbours and ports.
///
/// A handle: clones name the same namespace. The namespace lives as long as a handle, a thread or process inside it,
/// or a socket opened in it, and then vanishes with its interfaces; the kernel does that in the background, some
/// milliseconds later {net_namespace.c:cleanup_net}. A handle holds two descriptors, both close-on-exec.
#[derive(Debug, Clone)]
pub struct Namespace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fd: OwnedFd,
    /// The id under which the kernel shows the namespace: the inode number in nsfs.
    id: u64,
    /// Lives in the namespace, so that requests need no thread inside it.
    route: Route,
}

impl Namespace {
    /// Makes a namespace in which `lo` is up and IPv6 is off, so that no packet moves unasked.
    ///
    /// IPv6 stays on where /proc/sys is read-only, as in some containers; interfaces then send a few multicast frames
    /// when they come up. The calling thread stays where it is.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN; ENOSPC at the limit `user.max_net_namespaces`; ENOENT when /proc is not mounted;
    /// EMFILE.
    pub fn new() -> Result<Self, Error> {
        // unshare(2) moves a thread for good, hence one to throw away.
        on_new_thread(|| {
            // SAFETY: unshare takes no pointers, and the only thread that it moves ends with this closure.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return Err(Error::io("unshare the network namespace", None, &io::Error::last_os_error()));
            }
            let open = |e: io::Error| Error::io("open the new network namespace", None, &e);
            let file = fs::File::open("/proc/thread-self/ns/net").map_err(open)?;
            let id = file.metadata().map_err(open)?.ino();
            let route = Route::open().map_err(|e| Error::io("open a netlink socket", None, &e))?;
            for which in ["all", "default"] {
                // Absent without IPv6, read-only in some containers. /proc/sys/net shows the namespace of the thread
                // that opens it.
                let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6"), "1");
            }
            let step = Step { what: "set the interface up", interface: Some("lo") };
            link::set(&route, step, LOOPBACK, Some((LinkFlags::Up, true)), Vec::new())?;
            Ok(Self(Arc::new(Inner { fd: file.into(), id, route })))
        })?
    }

    /// Runs `f` on a thread inside the namespace and waits for it. Sockets that `f` opens stay in the namespace, and
    /// keep it alive, wherever they are used later.
    ///
    /// # Panics
    /// With the payload of `f`, if `f` panics. Also if the namespace cannot be entered, which happens only when the
    /// process lost CAP_SYS_ADMIN after it made the namespace, and if no thread can be started.
    #[track_caller]
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        match self.try_run(f) {
            Ok(value) => value,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn try_run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, Error> {
        on_new_thread(|| self.enter_for_good().map(|()| f()))?
    }

    /// Starts a thread inside the namespace. It is named after the calling thread, so that a panic names the test.
    ///
    /// # Panics
    /// If no thread can be started. The new thread panics if it cannot enter the namespace; see [`run`](Self::run).
    #[track_caller]
    pub fn spawn<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
        let ns = self.clone();
        let started = named_thread().spawn(move || {
            if let Err(error) = ns.enter_for_good() {
                panic!("{error}");
            }
            drop(ns); // the thread itself keeps the namespace from now on
            f()
        });
        match started {
            Ok(handle) => handle,
            Err(error) => panic!("start a thread: {error}"),
        }
    }

    /// Moves the calling thread into the namespace until the guard is dropped. Threads and processes started
    /// meanwhile are born inside and stay there. Guards nest; drop them in reverse order.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN; ENOENT when /proc is not mounted; EMFILE.
    pub fn enter(&self) -> Result<Guard, Error> {
        let previous = fs::File::open("/proc/thread-self/ns/net")
            .map_err(|e| Error::io("open the present network namespace", None, &e))?;
        self.enter_for_good()?;
        Ok(Guard { previous: previous.into(), not_send: PhantomData })
    }

    /// Starts a process inside the namespace. It is killed when the returned [`Child`] is dropped, and also when this
    /// process dies, however it dies. `command` can be used again afterwards, in this namespace or any other.
    ///
    /// # Errors
    /// As [`Command::spawn`]; EPERM without CAP_SYS_ADMIN.
    pub fn spawn_command(&self, command: &mut Command) -> io::Result<Child> {
        process::spawn(self, command)
    }

    /// All interfaces in the namespace, `lo` included, in order of index.
    ///
    /// # Errors
    /// What rtnetlink answers; ENOBUFS when memory is short.
    pub fn links(&self) -> Result<Vec<Link>, Error> {
        link::list(self.route())
    }

    /// The interface of this name.
    ///
    /// # Errors
    /// ENODEV when there is none.
    pub fn link(&self, name: &str) -> Result<Link, Error> {
        link::check_name(name)?;
        link::find(self.route(), Which::Name(name))
    }

    /// The number by which the kernel tells namespaces apart: N of `net:[N]` in /proc/PID/ns. Unique while the
    /// namespace lives; used again later.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    pub(crate) fn route(&self) -> &Route {
        &self.0.route
    }

    /// Moves the calling thread into the namespace.
    pub(crate) fn enter_for_good(&self) -> Result<(), Error> {
        set_namespace(self.0.fd.as_fd()).map_err(|e| Error::io("enter the network namespace", None, &e))
    }
}

impl AsFd for Namespace {
    /// The descriptor of the namespace, as setns(2) and IFLA_NET_NS_FD take it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

impl PartialEq for Namespace {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Namespace {}

/// Keeps the thread inside a [`Namespace`]; dropping it takes the thread back to where it was.
///
/// # Panics
/// Dropping panics if the kernel refuses the way back, which happens only when the process lost CAP_SYS_ADMIN
/// meanwhile: to go on in the wrong namespace, unnoticed, would be worse.
#[derive(Debug)]
#[must_use = "dropping the guard leaves the namespace at once"]
pub struct Guard {
    previous: OwnedFd,
    /// The namespace belongs to the thread that entered it.
    not_send: PhantomData<*const ()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = set_namespace(self.previous.as_fd())
            && !thread::panicking()
        {
            panic!("return to the previous network namespace: {error}");
        }
    }
}

fn set_namespace(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: setns takes no pointers; it changes which network the calling thread's later calls see, no memory.
    if unsafe { libc::setns(fd.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn on_new_thread<T: Send>(f: impl FnOnce() -> T + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let started = named_thread().spawn_scoped(scope, f);
        let thread = started.map_err(|e| Error::io("start a thread", None, &e))?;
        thread.join().map_err(|payload| std::panic::resume_unwind(payload))
    })
}

/// A thread of the caller's name: libtest names threads after tests.
pub(crate) fn named_thread() -> thread::Builder {
    let builder = thread::Builder::new();
    match thread::current().name() {
        Some(name) => builder.name(name.into()),
        None => builder,
    }
}
