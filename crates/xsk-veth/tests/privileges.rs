//! What happens without the rights to make a network. The tests here run themselves again in processes without any.
#![cfg(target_os = "linux")]

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Command, Output},
};

use xsk_veth::Abilities;

/// Runs an ignored test of this file in a process that root's powers do not reach.
fn without_rights(test: &str, require: &str) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", test]).env("XSK_REQUIRE_VETH", require);
    let hook = || {
        for capability in 0..64 {
            // SAFETY: plain system call without pointers. It fails for capabilities that this kernel does not have, and
            // for processes that have no rights to give up.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong, 0, 0, 0) };
        }
        io::Result::Ok(())
    };
    // SAFETY: the hook only makes system calls.
    unsafe { command.pre_exec(hook) };
    command.output().unwrap()
}

#[test]
#[ignore = "run by the tests below"]
fn needs_veth() {
    if !xsk_veth::require() {
        return;
    }
    panic!("the rights are there");
}

#[test]
#[ignore = "run by the tests below"]
fn probes() {
    let abilities = Abilities::probe();
    assert_eq!(abilities.namespace.unwrap_err().0, libc::EPERM);
    assert_eq!(abilities.af_xdp.unwrap_err().0, libc::EPERM);
    assert_eq!(abilities.bpf.unwrap_err().0, libc::EPERM);
    let error = xsk_veth::Namespace::new().unwrap_err().to_string();
    assert_eq!(error, "unshare the network namespace: EPERM (1, Operation not permitted)");
}

#[test]
fn a_test_without_rights_is_skipped_aloud() {
    let output = without_rights("needs_veth", "0");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    let line = text.lines().find(|line| line.starts_with("SKIPPED ")).expect("one loud line, not captured");
    assert!(line.starts_with("SKIPPED needs_veth: no network namespace can be made: EPERM (1, "), "{line}");
    assert_eq!(text.matches("SKIPPED").count(), 1);
}

#[test]
fn a_test_without_rights_fails_where_skipping_is_forbidden() {
    let output = without_rights("needs_veth", "1");
    assert!(!output.status.success());
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("XSK_REQUIRE_VETH=1, but no network namespace can be made"), "{text}");
    assert!(!text.contains("SKIPPED"), "{text}");
}

#[test]
fn abilities_are_probed_as_they_are() {
    let output = without_rights("probes", "0");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
