use std::{
    io, mem,
    ops::{Deref, DerefMut},
    os::unix::process::CommandExt,
    process::{self, Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use crate::{Namespace, namespace::named_thread};

/// A process inside a namespace, from [`Namespace::spawn_command`]. Dropping it kills the process, though not the
/// processes that this one started, and waits for its end.
#[derive(Debug)]
#[must_use = "dropping the child kills it at once"]
pub struct Child {
    /// `None` only while dropping and after `wait_with_output`.
    child: Option<process::Child>,
    keeper: Keeper,
}

/// The thread that started the child.
///
/// PR_SET_PDEATHSIG is what kills the child when this process dies without running destructors. The signal is tied to
/// the *thread* that forked {exit.c:reparent_leader}, so that thread has to stay as long as the child.
#[derive(Debug)]
struct Keeper {
    /// Dropping it releases the thread.
    hold: Option<mpsc::Sender<Command>>,
    thread: Option<thread::JoinHandle<()>>,
}

pub(crate) fn spawn(ns: &Namespace, command: &mut Command) -> io::Result<Child> {
    // The death signal must not follow the command to other uses, so it is disarmed after this one.
    let armed = Arc::new(AtomicBool::new(true));
    die_with_parent(command, Arc::clone(&armed));

    let (hold, given) = mpsc::channel::<Command>();
    let (reply, started) = mpsc::channel();
    let inside = ns.clone();
    let thread = named_thread().spawn(move || {
        let Ok(mut command) = given.recv() else { return };
        let result = inside.enter_for_good().map_err(io::Error::from).and_then(|()| command.spawn());
        drop(inside);
        let _ = reply.send((command, result));
        let _ = given.recv(); // until the child is no longer wanted
    })?;
    let keeper = Keeper { hold: Some(hold), thread: Some(thread) };

    let gone = || io::Error::other("the thread that starts the process died");
    let taken = mem::replace(command, Command::new(""));
    keeper.hold.as_ref().ok_or_else(gone)?.send(taken).map_err(|_| gone())?;
    let (returned, result) = started.recv().map_err(|_| gone())?;
    *command = returned;
    armed.store(false, Ordering::Relaxed);
    Ok(Child { child: Some(result?), keeper })
}

fn die_with_parent(command: &mut Command, armed: Arc<AtomicBool>) {
    let parent = process::id().cast_signed();
    let hook = move || {
        // A flag in memory copied by fork: what it was when this child was forked.
        if !armed.load(Ordering::Relaxed) {
            return Ok(());
        }
        // SAFETY: prctl with PR_SET_PDEATHSIG takes a number, no pointers, and is a plain system call.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // The parent may have died before the signal was asked for.
        // SAFETY: getppid has no preconditions.
        if unsafe { libc::getppid() } != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: between fork and exec the hook only reads an atomic and makes two system calls: no allocation (OS errors
    // are plain numbers), no locks.
    unsafe { command.pre_exec(hook) };
}

impl Child {
    /// As [`std::process::Child::wait_with_output`]: collects what the process writes to its pipes, and its status.
    ///
    /// # Errors
    /// As std's.
    pub fn wait_with_output(mut self) -> io::Result<Output> {
        match self.child.take() {
            Some(child) => child.wait_with_output(),
            None => Err(io::Error::other("the process was already waited for")),
        }
    }
}

impl Deref for Child {
    type Target = process::Child;

    fn deref(&self) -> &process::Child {
        self.child.as_ref().expect("only drop and wait_with_output take the child, and both end this value")
    }
}

impl DerefMut for Child {
    fn deref_mut(&mut self) -> &mut process::Child {
        self.child.as_mut().expect("only drop and wait_with_output take the child, and both end this value")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Fails only for a process that is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
        // Only now: the end of the keeper is the end of the child.
        self.keeper.release();
    }
}

impl Keeper {
    fn release(&mut self) {
        self.hold = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.release();
    }
}
