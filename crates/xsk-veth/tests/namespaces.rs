//! Namespaces: entering, threads, processes, privacy.
#![cfg(target_os = "linux")]

use std::{
    fs,
    io::Read,
    net::UdpSocket,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use xsk_veth::{Namespace, VethPair};

/// The namespace of the calling thread.
fn here() -> String {
    fs::read_link("/proc/thread-self/ns/net").unwrap().display().to_string()
}

fn name_of(ns: &Namespace) -> String {
    format!("net:[{}]", ns.id())
}

#[test]
fn a_new_namespace_holds_lo_up_and_no_ipv6() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let links = ns.links().unwrap();
    let lo = links.iter().find(|link| link.name == "lo").unwrap();
    assert_eq!((lo.ifindex, lo.up, lo.running), (1, true, true));

    ns.run(|| {
        let one = UdpSocket::bind("127.0.0.1:0").unwrap();
        let two = UdpSocket::bind("127.0.0.1:0").unwrap();
        one.send_to(b"hello", two.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(two.recv(&mut buffer).unwrap(), 5);
        UdpSocket::bind("[::1]:0").unwrap_err();
    });
}

#[test]
fn run_spawn_and_enter_are_inside_and_only_they() {
    if !xsk_veth::require() {
        return;
    }
    let outside = here();
    let (one, two) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    assert_ne!(one, two);
    assert_eq!(one, one.clone());

    let borrowed = [1, 2, 3];
    assert_eq!(one.run(|| (here(), borrowed.len())), (name_of(&one), 3));
    assert_eq!(one.spawn(here).join().unwrap(), name_of(&one));
    assert_eq!(here(), outside);

    let guard = one.enter().unwrap();
    assert_eq!(here(), name_of(&one));
    {
        let _inner = two.enter().unwrap();
        assert_eq!(here(), name_of(&two));
    }
    assert_eq!(here(), name_of(&one));
    drop(guard);
    assert_eq!(here(), outside);
}

#[test]
fn threads_carry_the_name_of_the_test() {
    if !xsk_veth::require() {
        return;
    }
    let name = || thread::current().name().map(str::to_owned);
    let ns = Namespace::new().unwrap();
    assert_eq!(ns.run(name), name());
    assert_eq!(ns.spawn(name).join().unwrap(), name());
}

#[test]
fn a_panic_comes_out_of_run_and_spawn() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let caught = std::panic::catch_unwind(|| ns.run(|| std::panic::panic_any(42_u8))).unwrap_err();
    assert_eq!(caught.downcast_ref(), Some(&42_u8));
    let caught = ns.spawn(|| std::panic::panic_any(43_u8)).join().unwrap_err();
    assert_eq!(caught.downcast_ref(), Some(&43_u8));
}

#[test]
fn twenty_namespaces_at_once_with_the_same_names() {
    if !xsk_veth::require() {
        return;
    }
    let mut ids: Vec<u64> = thread::scope(|scope| {
        let work = || {
            let ns = Namespace::new().unwrap();
            let pair = VethPair::builder(&ns, &ns).queues(2).build().unwrap();
            assert_eq!((pair.a.name(), pair.b.name()), ("a", "b"));
            assert_eq!(ns.links().unwrap().len(), 3);
            (ns.id(), ns)
        };
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(work)).collect();
        // Ids are unique among the living, so all live until all are counted.
        let alive: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        alive.iter().map(|(id, _)| *id).collect()
    });
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 20);
}

#[test]
fn a_process_runs_inside_and_its_command_serves_again() {
    if !xsk_veth::require() {
        return;
    }
    let (one, two) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let mut command = Command::new("readlink");
    command.arg("/proc/self/ns/net").stdout(Stdio::piped());
    for ns in [&one, &two] {
        let output = ns.spawn_command(&mut command).unwrap().wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), name_of(ns));
    }
    // Outside, and without the death signal: it must survive the thread that starts it.
    let mut command = Command::new("sleep");
    command.arg("0.2");
    drop(one.spawn_command(&mut command).unwrap());
    let mut outside = thread::scope(|scope| scope.spawn(|| command.spawn().unwrap()).join().unwrap());
    assert!(outside.wait().unwrap().success());
}

#[test]
fn a_failed_start_says_so_and_gives_the_command_back() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let mut command = Command::new("/no/such/program");
    let error = ns.spawn_command(&mut command).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert_eq!(command.get_program(), "/no/such/program");
}

#[test]
fn a_process_outlives_the_thread_that_asked_and_dies_with_its_handle() {
    if !xsk_veth::require() {
        return;
    }
    let ns = Namespace::new().unwrap();
    let mut child = thread::scope(|scope| {
        scope.spawn(|| ns.spawn_command(Command::new("sleep").arg("1000")).unwrap()).join().unwrap()
    });
    thread::sleep(Duration::from_millis(100));
    assert!(child.try_wait().unwrap().is_none(), "still there though its starter is gone");

    let proc = format!("/proc/{}", child.id());
    assert!(fs::exists(&proc).unwrap());
    drop(child);
    assert!(!fs::exists(&proc).unwrap(), "killed and waited for");

    let mut child = ns.spawn_command(Command::new("sleep").arg("1000")).unwrap();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
}

/// The middle process of the test below: starts a child, says its number, and waits to be killed.
#[test]
#[ignore = "run by a_process_dies_with_a_killed_parent"]
fn parent_to_be_killed() {
    let ns = Namespace::new().unwrap();
    let child = ns.spawn_command(Command::new("sleep").arg("1000")).unwrap();
    fs::write(std::env::var("XSK_VETH_TEST_PIPE").unwrap(), format!("{}\n", child.id())).unwrap();
    thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_process_dies_with_a_killed_parent() {
    if !xsk_veth::require() {
        return;
    }
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "parent_to_be_killed", "--nocapture"])
        // stderr is a pipe of ours; libtest writes to stdout.
        .env("XSK_VETH_TEST_PIPE", "/proc/self/fd/2")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pid = String::new();
    let mut pipe = parent.stderr.take().unwrap();
    let mut byte = [0];
    while pipe.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        pid.push(char::from(byte[0]));
    }
    let stat = format!("/proc/{pid}/stat");
    assert!(pid.parse::<u32>().is_ok() && fs::exists(&stat).unwrap(), "{pid:?}");

    parent.kill().unwrap();
    parent.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    // Gone, or a zombie that nobody has collected.
    while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < deadline, "{pid} survived");
        thread::sleep(Duration::from_millis(5));
    }
}
