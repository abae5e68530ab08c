//! Who does the kernel's share of the work.

use std::time::Duration;

use xsk::backend::{Backend, Capabilities, InterruptDeferral};
use xsk::error::{Diagnosis, Step};
use xsk::port::{BusyPoll, BusyPollAdvice, Policy, PortConfig, Verdict};
use xsk::{Batch, Port};
use xsk_sim::fault::{Call, Chance, Fault, FaultRule, Moment, Point};
use xsk_sim::{Profile, SimKernel};

use crate::kit::{config, free_frames, pool, received, world};

const SOL_SOCKET: i32 = 1;
const HELD_BACK: InterruptDeferral =
    InterruptDeferral { hard_irqs: 2, flush_timeout: Duration::from_micros(200) };

fn option(kernel: &SimKernel, port: &Port, name: i32) -> u32 {
    let mut value = [0; 4];
    kernel.getsockopt(port.fd().handle(), SOL_SOCKET, name, &mut value).unwrap();
    u32::from_ne_bytes(value)
}

#[test]
fn every_policy_receives_and_sends() {
    for policy in [Policy::NeedWakeup, Policy::Interrupt, BusyPoll::default().into()] {
        let (kernel, _a, b) = world(1);
        let pool = pool(&kernel, 64);
        let mut port = Port::open(&pool, "a", 0, config().policy(policy)).unwrap();
        b.send(&[7; 60]).unwrap();
        assert!(port.wait(Some(Duration::ZERO)).unwrap(), "{policy:?}");
        assert_eq!(port.forward(|_| Verdict::Send).unwrap().sent, 1, "{policy:?}");
        assert_eq!(b.receive(), Some(vec![7; 60]), "{policy:?}");
        assert!(received(&mut port).is_empty());
        assert!(!port.wait(Some(Duration::from_millis(2))).unwrap());
        drop(port);
        assert_eq!(free_frames(&pool), 64);
    }
}

#[test]
fn busy_polling_sets_the_options_with_their_values() {
    let (kernel, _a, _b) = world(1);
    let pool = pool(&kernel, 64);
    let options = |port: &Port| [69, 46].map(|name| option(&kernel, port, name));
    let port = Port::open(&pool, "a", 0, config()).unwrap();
    assert_eq!(options(&port), [0, 0]);
    let busy = BusyPoll::default().time(Duration::from_micros(50)).budget(16);
    let other = Port::open(&pool, "b", 0, config().policy(busy)).unwrap();
    assert_eq!(options(&other), [1, 50]);
    drop(other);
    // The budget cannot be read back (net/core/sock.c:sk_getsockopt). At least a microsecond: 0 would turn it off again. At most what the option takes.
    for (time, value) in [(Duration::ZERO, 1), (Duration::MAX, i32::MAX as u32)] {
        let port = Port::open(&pool, "b", 0, config().policy(BusyPoll::default().time(time))).unwrap();
        assert_eq!(options(&port), [1, value]);
    }
}

/// The driver gets its turn by a system call whenever nothing is found, and at no other time.
#[test]
fn looking_in_vain_costs_a_call_with_busy_polling_alone() {
    for (policy, calls) in [(Policy::NeedWakeup, 0), (BusyPoll::default().into(), 1)] {
        let (kernel, _a, b) = world(1);
        let pool = pool(&kernel, 64);
        let mut port = Port::open(&pool, "a", 0, config().policy(policy)).unwrap();
        let mut batch = Batch::new();
        let looks: [fn(&mut Port, &mut Batch) -> usize; 3] = [
            |port, batch| port.recv(batch).unwrap(),
            |port, _| port.forward(|_| Verdict::Drop).unwrap().received,
            |port, _| port.for_each(|_| ()).unwrap(),
        ];
        for look in looks {
            let before = port.stats().unwrap().rx_wakeups;
            assert_eq!(look(&mut port, &mut batch), 0);
            assert_eq!(port.stats().unwrap().rx_wakeups - before, calls, "{policy:?}");
            b.send(&[1; 60]).unwrap();
            assert_eq!(look(&mut port, &mut batch), 1);
            assert_eq!(port.stats().unwrap().rx_wakeups - before, calls, "{policy:?}");
        }
    }
}

#[test]
fn waiting_polls_before_it_sleeps() {
    let (kernel, _a, b) = world(1);
    let pool = pool(&kernel, 64);
    let busy = BusyPoll::default().time(Duration::from_micros(300));
    let mut port = Port::open(&pool, "a", 0, config().policy(busy)).unwrap();
    let never = kernel.fault(FaultRule::errno(Call::Poll, xsk_core::errno::EINTR));
    let start = kernel.now();
    // The time to poll is over, and the poll that sleeps is interrupted.
    assert!(!port.wait(None).unwrap());
    assert!(kernel.now() - start >= Duration::from_micros(300) && never.hits() == 1);
    assert!(port.stats().unwrap().rx_wakeups >= 2);
    // No longer than was asked for.
    let start = kernel.now();
    assert!(!port.wait(Some(Duration::ZERO)).unwrap());
    assert!(kernel.now() - start < Duration::from_micros(300));
    // What is there ends it without a poll.
    let before = never.hits();
    b.send(&[1; 60]).unwrap();
    assert!(port.wait(None).unwrap());
    assert_eq!(never.hits(), before);
    drop(never);
    // What the driver says in its turn is not lost.
    let down = kernel.fault(FaultRule::errno(Call::RecvFrom, xsk_core::errno::ENXIO));
    received(&mut port);
    let error = port.wait(Some(Duration::from_secs(1))).unwrap_err();
    assert_eq!(*error.diagnosis(), Diagnosis::InterfaceGone, "{error}");
    drop(down);
}

/// Having polled, it sleeps for the rest of the time that was asked for.
#[test]
fn what_comes_while_it_sleeps_ends_the_wait() {
    for policy in [Policy::NeedWakeup, BusyPoll::default().into()] {
        let kernel = SimKernel::new(1);
        let card = kernel.card("a", &xsk_sim::DeviceConfig::default()).unwrap();
        let pool = pool(&kernel, 64);
        let mut port = Port::open(&pool, "a", 0, config().policy(policy)).unwrap();
        assert!(!port.wait(Some(Duration::from_millis(500))).unwrap());
        // Also if it is for ever, longer than one poll is.
        for (after, timeout) in [(20, Some(50)), (400, Some(450)), (700, None), (1, None)] {
            let start = kernel.now();
            card.inject_after(Duration::from_millis(after), 0, &[1; 60]).unwrap();
            assert!(port.wait(timeout.map(Duration::from_millis)).unwrap(), "{policy:?}, after {after} ms");
            let waited = (kernel.now() - start).as_millis() as u64;
            assert!((after..after + 20).contains(&waited), "{policy:?}: {waited} ms");
            assert_eq!(received(&mut port).len(), 1);
        }
        let start = kernel.now();
        assert!(!port.wait(Some(Duration::from_millis(50))).unwrap());
        let waited = (kernel.now() - start).as_millis();
        assert!((50..70).contains(&waited), "{policy:?}: {waited} ms");
    }
}

#[test]
fn advice_names_the_file_and_the_value() {
    let (kernel, a, _b) = world(1);
    let pool = pool(&kernel, 64);
    let port = Port::open(&pool, "a", 0, config().policy(BusyPoll::default())).unwrap();
    let file = |file: &str| format!("/sys/class/net/a/{file}");
    let irqs = BusyPollAdvice::Write { file: file("napi_defer_hard_irqs"), value: 2 };
    let flush = BusyPollAdvice::Write { file: file("gro_flush_timeout"), value: 200_000 };
    // The simulated kernel registers no NAPI.
    let napi = BusyPollAdvice::NoNapi;
    let advice = || port.busy_poll_advice().unwrap();
    assert_eq!(advice(), [irqs.clone(), flush.clone(), napi.clone()]);
    assert!(irqs.to_string().starts_with("write 2 to /sys/class/net/a/napi_defer_hard_irqs, which is 0"));
    a.set_interrupt_deferral(InterruptDeferral { hard_irqs: 0, ..HELD_BACK });
    assert_eq!(advice(), [irqs, napi.clone()]);
    a.set_interrupt_deferral(InterruptDeferral { flush_timeout: Duration::ZERO, ..HELD_BACK });
    assert_eq!(advice(), [flush, napi.clone()]);
    a.set_interrupt_deferral(HELD_BACK);
    assert_eq!(advice(), std::slice::from_ref(&napi));
    let unknown = kernel.fault(FaultRule::errno(Call::InterruptDeferral, xsk_core::errno::EACCES));
    assert!(matches!(&advice()[0], BusyPollAdvice::Unknown { interface, .. } if interface == "a"));
    drop(unknown);
    // The halves know as well, and a port that does not busy-poll says that.
    let (rx, _tx) = port.split();
    assert_eq!(rx.busy_poll_advice().unwrap(), std::slice::from_ref(&napi));
    let other = Port::open(&pool, "b", 0, config()).unwrap();
    assert_eq!(other.busy_poll_advice().unwrap()[0], BusyPollAdvice::OtherPolicy);
}

#[test]
fn what_is_required_is_checked_before_anything_is_opened() {
    let (kernel, a, _b) = world(1);
    let pool = pool(&kernel, 64);
    let required = config().policy(BusyPoll::default().required());
    let error = Port::open(&pool, "a", 0, required).unwrap_err();
    assert!(matches!(error.diagnosis(), Diagnosis::BusyPolling(BusyPollAdvice::Write { .. })), "{error}");
    assert_eq!((error.step(), error.interface(), error.queue()), (Step::BusyPoll, Some("a"), Some(0)));
    assert!(a.info().program.is_none());
    let unknown = kernel.fault(FaultRule::errno(Call::InterruptDeferral, xsk_core::errno::EACCES));
    let error = Port::open(&pool, "a", 0, required).unwrap_err();
    assert!(matches!(error.diagnosis(), Diagnosis::BusyPolling(BusyPollAdvice::Unknown { .. })), "{error}");
    drop(unknown);
    a.set_interrupt_deferral(HELD_BACK);
    drop(Port::open(&pool, "a", 0, required).unwrap());
    assert_eq!(free_frames(&pool), 64);
}

#[test]
fn refused_options_say_why_and_leave_nothing_behind() {
    let busy = PortConfig::default().policy(BusyPoll::default());
    let (kernel, a, _b) = world(1);
    let pool = pool(&kernel, 64);
    kernel.set_capabilities(Capabilities::all() - Capabilities::CAP_NET_ADMIN);
    let error = Port::open(&pool, "a", 0, busy.no_program()).unwrap_err();
    assert!(matches!(error.diagnosis(), Diagnosis::MissingCapability(_)), "{error}");
    assert_eq!(error.refused(), Some("SO_PREFER_BUSY_POLL 1"));
    assert_eq!((error.step(), error.interface(), error.queue()), (Step::BusyPoll, Some("a"), Some(0)));
    kernel.set_capabilities(Capabilities::all());
    // With the capability it is something else that forbids it.
    let forbidden = kernel.fault(FaultRule::errno(Call::SetSockOpt, xsk_core::errno::EPERM).nth(7));
    let error = Port::open(&pool, "a", 0, busy.no_program()).unwrap_err();
    assert_eq!((error.step(), error.diagnosis()), (Step::BusyPoll, &Diagnosis::Unknown), "{error}");
    drop(forbidden);
    // One after the other.
    for (after, value) in
        [(0, "SO_PREFER_BUSY_POLL 1"), (1, "SO_BUSY_POLL 20"), (2, "SO_BUSY_POLL_BUDGET 64")]
    {
        let mut calls = 0;
        let fails = kernel.fault(move |point: &Point, _: &mut Chance<'_>| {
            calls += u32::from(matches!(point.moment, Moment::Call(Call::SetSockOpt)));
            // The UMEM, the rings and the TX budget come before.
            (calls > 6 + after).then_some(Fault::Errno(xsk_core::errno::EINVAL))
        });
        let error = Port::open(&pool, "a", 0, busy).unwrap_err();
        assert_eq!((error.step(), error.refused()), (Step::BusyPoll, Some(value)), "{error}");
        drop(fails);
    }
    assert!(a.info().program.is_none());
    assert_eq!((pool.with_kernel(), free_frames(&pool)), (0, 64));

    let old = SimKernel::with_profile(1, Profile::LINUX_5_10);
    let (_a, _b) = old.veth("a", "b", &xsk_sim::DeviceConfig::default()).unwrap();
    let error = Port::open(&crate::kit::pool(&old, 64), "a", 0, busy).unwrap_err();
    assert_eq!(
        *error.diagnosis(),
        Diagnosis::KernelTooOld { feature: "preferred busy polling", since: "5.11" },
        "{error}"
    );
}
