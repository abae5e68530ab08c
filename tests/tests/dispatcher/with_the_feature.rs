//! Where feature `libxdp` is compiled in.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use xsk::config::{Attach, SocketConfig, XdpFlags};
use xsk::error::{Diagnosis, Step};
use xsk::socket::SocketCreateError;
use xsk::{Socket, TxQueue, Umem};
use xsk_tests::child::{fds, in_child};
use xsk_tests::{
    MODES, Opened, Port, bpf, copy_mode, fill, frame, interface, port, receive, send, try_open, umem,
};
use xsk_veth::{Namespace, Tap, VethPair, XdpMode};

use super::dispatched;
use super::others::{self, Counting, attached, mount_privately, pins, quietly, with_bpffs};

const DRV: XdpFlags = XdpFlags::XDP_FLAGS_DRV_MODE;
const SKB: XdpFlags = XdpFlags::XDP_FLAGS_SKB_MODE;
const OURS: &str = "xsk_def_prog";
const THEIRS: &str = Counting::NAME;
const MODULE: &str = "with_the_feature::";

/// libxdp keeps what it finds out about the system for the life of a process, and is not thread-safe: each test has a
/// process of its own.
fn alone(test: &str, body: impl FnOnce()) {
    if xsk_veth::require() {
        in_child(&format!("{MODULE}{test}"), body);
    }
}

/// As [`alone`], if the kernel can have a dispatcher.
fn with_dispatcher(test: &str, body: impl FnOnce()) {
    if others::kernel_has_dispatcher() {
        alone(test, body);
    } else {
        xsk_veth::skip("this kernel refuses BPF programs of type EXT, which libxdp's dispatcher is made of");
    }
}

/// A socket that only sends, and so needs no program: what it sends from a queue arrives at the same queue of the peer.
fn sender(umem: &Umem, name: &str, queue: u32) -> TxQueue {
    // SAFETY: each frame is handed over once.
    unsafe { Socket::tx_only(copy_mode(DRV), umem, &interface(name), queue) }.expect("a socket").0
}

fn open(umem: &Umem, mode: XdpFlags, name: &str) -> Result<Opened, SocketCreateError> {
    quietly(|| try_open(umem, dispatched(mode), name, 0))
}

#[test]
fn a_socket_shares_its_interface_with_another_program() {
    with_dispatcher("a_socket_shares_its_interface_with_another_program", || {
        for mode in MODES {
            let ns = Namespace::new().unwrap();
            let pair = VethPair::builder(&ns, &ns).build().unwrap();
            let tap = Tap::open(&ns, pair.a.name()).unwrap();
            with_bpffs(&ns, || {
                fs::create_dir("/sys/fs/bpf/xdp").unwrap();
                let theirs = Counting::attach(pair.b.ifindex(), mode);
                let (umem, descs) = umem(16);
                let mut ours = quietly(|| port(&umem, dispatched(mode), pair.b.name(), 0));
                assert_eq!(attached(pair.b.ifindex()), [THEIRS, OURS]);
                fill(&mut ours.fill, &descs);
                for tag in 0..8 {
                    tap.send(&frame(60, tag)).unwrap();
                    assert_eq!(receive(&umem, &mut ours.rx, 1)[0].0, frame(60, tag));
                    assert_eq!(theirs.packets(), u64::from(tag) + 1, "the other program counts on");
                }

                quietly(|| drop(ours));
                assert_eq!(attached(pair.b.ifindex()), [THEIRS]);
                tap.send(&frame(60, 8)).unwrap();
                xsk_tests::eventually("counting", || theirs.packets() == 9);
                theirs.detach();
                assert_eq!(pins(), [""; 0], "nothing of anybody stays behind");
            });
            assert!(pair.b.xdp().unwrap().is_none());
        }
    });
}

#[test]
fn a_program_that_comes_later_finds_ours() {
    with_dispatcher("a_program_that_comes_later_finds_ours", || {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        let tap = Tap::open(&ns, pair.a.name()).unwrap();
        with_bpffs(&ns, || {
            let (umem, descs) = umem(16);
            let mut ours = port(&umem, dispatched(XdpFlags::empty()), pair.b.name(), 0);
            assert_eq!(pair.b.xdp().unwrap().unwrap().mode, XdpMode::Native, "as the kernel likes");
            let theirs = Counting::attach(pair.b.ifindex(), DRV);
            assert_eq!(attached(pair.b.ifindex()), [THEIRS, OURS]);
            fill(&mut ours.fill, &descs);
            tap.send(&frame(60, 1)).unwrap();
            assert_eq!(receive(&umem, &mut ours.rx, 1)[0].0, frame(60, 1));
            assert_eq!(theirs.packets(), 1);
            theirs.detach();
            assert_eq!(attached(pair.b.ifindex()), [OURS]);
            tap.send(&frame(60, 2)).unwrap();
            assert_eq!(receive(&umem, &mut ours.rx, 1)[0].0, frame(60, 2));
        });
    });
}

#[test]
fn sockets_of_a_process_share_one_default_program() {
    with_dispatcher("sockets_of_a_process_share_one_default_program", || {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).queues(2).build().unwrap();
        with_bpffs(&ns, || {
            let (umem, mut descs) = umem(32);
            let mut ports = [0, 1].map(|queue| port(&umem, dispatched(DRV), pair.b.name(), queue));
            assert_eq!(attached(pair.b.ifindex()), [OURS], "one for both");
            let mut senders = [0, 1].map(|queue| sender(&umem, pair.a.name(), queue));
            for queue in 0..2 {
                fill(&mut ports[queue].fill, &descs[queue..=queue]);
                send(&umem, &mut senders[queue], &mut descs[queue + 8], &frame(60, queue as u8));
                assert_eq!(receive(&umem, &mut ports[queue].rx, 1)[0].0, frame(60, queue as u8));
            }
            let [first, mut second] = ports;
            drop(first);
            assert_eq!(attached(pair.b.ifindex()), [OURS], "the second needs it");
            fill(&mut second.fill, &descs[2..3]);
            send(&umem, &mut senders[1], &mut descs[10], &frame(60, 7));
            assert_eq!(receive(&umem, &mut second.rx, 1)[0].0, frame(60, 7));
            drop(second);
            assert_eq!(attached(pair.b.ifindex()), [""; 0], "the last one detached it");
            assert_eq!(pins(), [""; 0]);
        });
    });
}

/// Another process with a socket on queue 0 of `b`, which it closes when its standard input does.
struct Process(Child);

impl Process {
    const ROLE: &str = "XSK_TESTS_ROLE";

    /// `program` is this program, as seen from outside any private mount namespace.
    fn start(program: &Path, test: &str) -> Self {
        let child = Command::new(program)
            .args([&format!("{MODULE}{test}"), "--exact", "--nocapture"])
            .env(Self::ROLE, "socket")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut process = Self(child.unwrap());
        let output = process.0.stdout.take().unwrap();
        assert!(BufReader::new(output).lines().any(|line| line.unwrap().contains("socket is open")));
        process
    }

    fn is_this_one() -> bool {
        std::env::var_os(Self::ROLE).is_some()
    }

    /// What the other process does.
    #[allow(clippy::print_stdout)] // tells the test
    fn play() -> ! {
        let (umem, _) = umem(16);
        let port = port(&umem, dispatched(DRV), "b", 0);
        println!("socket is open");
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(port);
        // Nobody reads what the test's harness would like to say.
        std::process::exit(0)
    }

    fn stop(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn processes_share_one_default_program() {
    with_dispatcher("processes_share_one_default_program", || {
        if Process::is_this_one() {
            Process::play();
        }
        let program = std::env::current_exe().unwrap();
        let start = || Process::start(&program, "processes_share_one_default_program");
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).queues(2).build().unwrap();
        with_bpffs(&ns, || {
            let ifindex = pair.b.ifindex();
            let (umem, mut descs) = umem(16);
            let first = start();
            let id = pair.b.xdp().unwrap().unwrap().id;
            let ours = port(&umem, dispatched(DRV), pair.b.name(), 1);
            assert_eq!(pair.b.xdp().unwrap().unwrap().id, id, "joined, not attached again");
            drop(ours);
            assert_eq!(attached(ifindex), [OURS], "the other process needs it");
            let ours = port(&umem, dispatched(DRV), pair.b.name(), 1);
            first.stop();
            assert_eq!(attached(ifindex), [OURS], "this process needs it");
            drop(ours);
            assert_eq!(attached(ifindex), [""; 0], "the last one detached it");

            // A process that is killed is never counted off, but its queue is free and its program of use.
            start().kill();
            let mut ours = port(&umem, dispatched(DRV), pair.b.name(), 0);
            assert_eq!(attached(ifindex), [OURS]);
            fill(&mut ours.fill, &descs[..8]);
            send(&umem, &mut sender(&umem, pair.a.name(), 0), &mut descs[8], &frame(60, 3));
            assert_eq!(receive(&umem, &mut ours.rx, 1)[0].0, frame(60, 3));
            drop(ours);
            assert_eq!(attached(ifindex), [OURS], "as documented");
        });
    });
}

#[test]
fn a_default_program_of_libxdp_itself_is_joined_and_left_alone() {
    alone("a_default_program_of_libxdp_itself_is_joined_and_left_alone", || {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        let tap = Tap::open(&ns, pair.a.name()).unwrap();
        with_bpffs(&ns, || {
            let _map = others::attach_default(pair.b.ifindex());
            let (umem, descs) = umem(16);
            let mut ours = port(&umem, dispatched(XdpFlags::empty()), pair.b.name(), 0);
            assert_eq!(attached(pair.b.ifindex()), [OURS]);
            fill(&mut ours.fill, &descs);
            tap.send(&frame(60, 1)).unwrap();
            assert_eq!(receive(&umem, &mut ours.rx, 1)[0].0, frame(60, 1));
            drop(ours);
            assert_eq!(attached(pair.b.ifindex()), [OURS], "libxdp's own user needs it");

            let before = fds();
            for _ in 0..10 {
                drop(port(&umem, dispatched(XdpFlags::empty()), pair.b.name(), 0));
            }
            assert_eq!((fds(), attached(pair.b.ifindex())), (before, vec![OURS.to_owned()]));
        });
    });
}

#[test]
fn libxdp_itself_joins_our_default_program() {
    with_dispatcher("libxdp_itself_joins_our_default_program", || {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        with_bpffs(&ns, || {
            let (umem, _) = umem(16);
            let ours = port(&umem, dispatched(XdpFlags::empty()), pair.b.name(), 0);
            let _map = others::attach_default(pair.b.ifindex());
            assert_eq!(attached(pair.b.ifindex()), [OURS]);
            drop(ours);
            assert_eq!(attached(pair.b.ifindex()), [OURS], "libxdp's own user needs it");
        });
    });
}

#[test]
fn what_is_in_the_way_is_named() {
    with_dispatcher("what_is_in_the_way_is_named", || {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        let (umem, _) = umem(16);
        with_bpffs(&ns, || {
            let (name, ifindex) = (pair.b.name(), pair.b.ifindex());
            fs::create_dir("/sys/fs/bpf/xdp").unwrap();
            let theirs = Counting::attach(ifindex, SKB);

            // A link cannot be beside the dispatcher.
            let id = pair.b.xdp().unwrap().unwrap().id;
            let error = try_open(&umem, SocketConfig::default(), name, 0).unwrap_err();
            assert_eq!(SocketConfig::default().attach(), Attach::Link);
            let Diagnosis::ProgramAttached { program, .. } = error.diagnosis() else { panic!("{error}") };
            assert_eq!(program.id, id);
            assert!(
                error
                    .to_string()
                    .contains(&format!("is attached already (id {id}, `xdp_dispatcher`, SKB mode)")),
                "{error}"
            );

            let error = open(&umem, DRV, name).unwrap_err();
            assert_eq!(
                error.to_string(),
                "cannot attach the XDP program on b queue 0 with libxdp's dispatcher: libxdp's dispatcher is on the \
                 interface in SKB mode: ask for that mode, or for none (EEXIST 17)"
            );
            drop(open(&umem, XdpFlags::empty(), name).unwrap());
            let error = open(&umem, XdpFlags::XDP_FLAGS_HW_MODE, name).unwrap_err();
            assert_eq!((error.step(), error.diagnosis()), (Step::AttachProgram, &Diagnosis::Contradiction));

            let more: Vec<_> = (0..9).map(|_| Counting::attach(ifindex, SKB)).collect();
            let error = open(&umem, SKB, name).unwrap_err();
            assert_eq!(*error.diagnosis(), Diagnosis::DispatcherFull);
            more.into_iter().for_each(Counting::detach);
            theirs.detach();
        });
    });
}

#[test]
fn the_dispatcher_cannot_be_beside_a_link() {
    alone("the_dispatcher_cannot_be_beside_a_link", || {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        let (umem, _) = umem(16);
        with_bpffs(&ns, || {
            let (name, ifindex) = (pair.b.name(), pair.b.ifindex());
            let program = bpf::load_verdict(bpf::XDP_PASS).unwrap();
            let _link = bpf::attach(&program, ifindex, DRV).unwrap();
            let id = pair.b.xdp().unwrap().unwrap().id;
            let error = open(&umem, XdpFlags::empty(), name).unwrap_err();
            let text = format!(
                "the XDP program on the interface (id {id}, without a name, native mode) was not attached through \
                 libxdp's dispatcher"
            );
            assert!(error.to_string().contains(&text), "{error}");
            assert_eq!(error.errno(), Some(libc::EBUSY));
        });
    });
}

#[test]
fn without_a_bpf_file_system_the_error_says_so() {
    alone("without_a_bpf_file_system_the_error_says_so", || {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        let (umem, _) = umem(16);
        ns.run(|| {
            mount_privately(c"tmpfs");
            drop(open(&umem, XdpFlags::empty(), pair.b.name()).unwrap_err());
            let before = fds();
            let error = open(&umem, XdpFlags::empty(), pair.b.name()).unwrap_err();
            assert_eq!(*error.diagnosis(), Diagnosis::NoBpffs);
            assert!(error.to_string().contains("mount -t bpf bpf /sys/fs/bpf"), "{error}");
            assert!(error.to_string().ends_with("(ENOENT 2)"), "{error}");
            drop(error);
            assert_eq!(fds(), before);
            assert!(pair.b.xdp().unwrap().is_none());
            // The same process finds the file system once it is there, and again when it is another one.
            for _ in 0..2 {
                mount_privately(c"bpf");
                match open(&umem, XdpFlags::empty(), pair.b.name()) {
                    Ok(_) => assert!(others::kernel_has_dispatcher()),
                    Err(error) => assert_eq!(*error.diagnosis(), Diagnosis::NoDispatcher),
                }
                assert_eq!(pins(), [""; 0]);
            }
        });
    });
}

#[test]
fn a_kernel_without_dispatcher_is_left_as_it_was() {
    if others::kernel_has_dispatcher() {
        return;
    }
    alone("a_kernel_without_dispatcher_is_left_as_it_was", || {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        let (umem, _) = umem(16);
        with_bpffs(&ns, || {
            drop(open(&umem, XdpFlags::empty(), pair.b.name()).unwrap_err());
            let before = fds();
            for mode in MODES {
                let error = open(&umem, mode, pair.b.name()).unwrap_err();
                assert_eq!(*error.diagnosis(), Diagnosis::NoDispatcher, "{error}");
                drop(error);
                assert_eq!(fds(), before);
                // libxdp attaches the program alone, which is not what was asked for.
                assert!(pair.b.xdp().unwrap().is_none());
                assert_eq!(pins(), [""; 0]);
            }
        });
    });
}

#[test]
fn the_last_socket_may_be_closed_in_other_namespaces() {
    with_dispatcher("the_last_socket_may_be_closed_in_other_namespaces", || {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        let (umem, _) = umem(16);
        let (give, take) = mpsc::channel::<Port>();
        let (done, closed) = mpsc::channel();
        std::thread::scope(|scope| {
            let (ns, umem, b) = (&ns, &umem, &pair.b);
            scope.spawn(move || {
                with_bpffs(ns, move || {
                    give.send(port(umem, dispatched(DRV), b.name(), 0)).unwrap();
                    closed.recv().unwrap();
                    assert_eq!(attached(b.ifindex()), [""; 0]);
                    assert_eq!(pins(), [""; 0]);
                });
            });
            drop(take.recv().unwrap());
            done.send(()).unwrap();
        });
        assert!(pair.b.xdp().unwrap().is_none());
    });
}

#[test]
fn nothing_stays_pinned_when_the_interface_goes_or_is_cleared() {
    with_dispatcher("nothing_stays_pinned_when_the_interface_goes_or_is_cleared", || {
        let ns = Namespace::new().unwrap();
        with_bpffs(&ns, || {
            let (umem, _) = umem(16);
            let pair = VethPair::builder(&ns, &ns).build().unwrap();
            let ours = port(&umem, dispatched(DRV), pair.b.name(), 0);
            others::clear(pair.b.ifindex());
            assert_eq!(pins().len(), 1);
            quietly(|| drop(ours));
            assert_eq!(pins(), [""; 0]);

            let ours = port(&umem, dispatched(DRV), pair.b.name(), 0);
            pair.delete().unwrap();
            assert_eq!(pins().len(), 1);
            quietly(|| drop(ours));
            assert_eq!(pins(), [""; 0]);

            // The pins of others are theirs to remove.
            let pair = VethPair::builder(&ns, &ns).build().unwrap();
            let _theirs = Counting::attach(pair.b.ifindex(), DRV);
            let ours = port(&umem, dispatched(DRV), pair.b.name(), 0);
            pair.delete().unwrap();
            drop(ours);
            let left = fs::read_dir(&pins()[0]).unwrap().map(|entry| entry.unwrap().file_name());
            let mut left: Vec<_> = left.collect();
            left.sort();
            assert_eq!(left, ["prog0-link", "prog0-prog"], "theirs came first");
        });
    });
}

#[test]
fn opening_and_closing_costs_no_descriptor() {
    with_dispatcher("opening_and_closing_costs_no_descriptor", || {
        let ns = Namespace::new().unwrap();
        let pair = VethPair::builder(&ns, &ns).build().unwrap();
        with_bpffs(&ns, || {
            let print = others::print_nothing();
            others::set_print(print);
            let (umem, _) = umem(16);
            drop(port(&umem, dispatched(DRV), pair.b.name(), 0));
            let before = fds();
            for _ in 0..10 {
                drop(port(&umem, dispatched(DRV), pair.b.name(), 0));
                assert!(open(&umem, XdpFlags::XDP_FLAGS_HW_MODE, pair.b.name()).is_err());
            }
            assert_eq!(fds(), before);
            let after = others::set_print(print);
            assert_eq!(
                format!("{after:?}"),
                format!("{print:?}"),
                "what others let libxdp print to is theirs"
            );
        });
    });
}
