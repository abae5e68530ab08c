//! CPUs and the threads on them.

use std::fs;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Keeps the thread where it is: packets wait for each CPU apart, and those of a sender that moves would change their
/// order.
///
/// # Panics
/// If the kernel refuses.
pub fn stay() {
    // SAFETY: takes nothing.
    let cpu = unsafe { libc::sched_getcpu() };
    pin(0, usize::try_from(cpu).expect("a CPU"));
}

/// Keeps the thread on one CPU, a different one for each thread in turn. Returns which.
///
/// # Panics
/// If the kernel refuses.
pub fn take_turns() -> usize {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = TURN.fetch_add(1, Ordering::Relaxed) % cpus;
    pin(0, cpu);
    cpu
}

/// Keeps a thread, 0 for this one, on a CPU.
///
/// # Panics
/// If the kernel refuses.
pub fn pin(thread: i32, cpu: usize) {
    // SAFETY: a set of CPUs is plain data for which all zeros are valid.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a whole set; a number beyond it is ignored.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the size is that of `set`, which the kernel only reads.
    let result = unsafe { libc::sched_setaffinity(thread, size_of_val(&set), &raw const set) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Makes a thread, 0 for this one, run before all ordinary ones (`SCHED_FIFO`), or as one of them (`SCHED_OTHER`).
///
/// # Panics
/// If the kernel refuses.
pub fn schedule(thread: i32, policy: i32) {
    let priority = if policy == libc::SCHED_FIFO { 1 } else { 0 };
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the kernel only reads the parameters.
    let result = unsafe { libc::sched_setscheduler(thread, policy, &raw const parameters) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Threads of the kernel whose name starts like this.
pub fn kernel_threads(prefix: &str) -> Vec<i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|number: &i32| name_of(*number).is_some_and(|name| name.starts_with(prefix))).collect()
}

fn name_of(process: i32) -> Option<String> {
    fs::read_to_string(format!("/proc/{process}/comm")).ok()
}

/// Waits while the kernel has put off packets of a CPU to the thread that works in the background: what was sent before is
/// then received.
pub fn wait_for_softirqs(cpu: usize) {
    static THREADS: OnceLock<Vec<Option<i32>>> = OnceLock::new();
    let threads = THREADS.get_or_init(|| {
        let found = kernel_threads("ksoftirqd/");
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let on = |cpu| {
            let name = format!("ksoftirqd/{cpu}\n");
            found.iter().copied().find(|thread| name_of(*thread).as_ref() == Some(&name))
        };
        (0..cpus).map(on).collect()
    });
    let Some(Some(thread)) = threads.get(cpu) else { return };
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        let state = fs::read_to_string(format!("/proc/{thread}/stat")).unwrap_or_default();
        // Behind the name, which is in parentheses.
        if state.rsplit(") ").next().is_none_or(|state| !state.starts_with('R')) {
            return;
        }
        std::thread::yield_now();
    }
}
