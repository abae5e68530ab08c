//! The same seed, the same bytes: on every run, in every process, in every build, on every machine.
//!
//! Histories are told to the byte (calls, rings, wakeups, packets, drops, faults; the state at their end; what came out), and
//! hashed. The hashes are here: whoever changes what the simulator does, or how a trace reads, changes them, and says why.

#[allow(unreachable_pub)]
mod histories;
#[allow(unreachable_pub)]
mod swarm;

use std::collections::BTreeMap;
use std::env;
use std::process::Command;

use histories::{Users, capture, history};
use xsk_sim::Profile;

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

const SEEDS: std::ops::Range<u64> = 0..3;

fn of_seeds(tell: impl Fn(u64) -> Vec<u8>) -> u64 {
    hash(&SEEDS.flat_map(tell).collect::<Vec<u8>>())
}

/// Every kind of history, by name.
fn hashes() -> BTreeMap<String, u64> {
    let mut hashes = BTreeMap::new();
    for profile in Profile::ALL {
        for (name, faults) in [("plain", false), ("faults", true)] {
            let tell = |seed| history(seed, profile, faults, Users::InTurn);
            hashes.insert(format!("{name}, {}", profile.name), of_seeds(tell));
        }
    }
    hashes.insert("capture".to_owned(), of_seeds(capture));
    hashes
}

const KNOWN: [(&str, u64); 11] = [
    ("capture", 0x80eb_70a7_d25f_e9b2),
    ("faults, Linux 5.10.223", 0x0e59_2e33_43e3_395b),
    ("faults, Linux 6.1.192", 0xf09d_403e_4921_2600),
    ("faults, Linux 6.12.107", 0xeb6d_00e7_a765_c0e7),
    ("faults, Linux 6.18.44", 0xf9e1_c193_6226_cf73),
    ("faults, Linux 7.3.4", 0x330c_3a16_8581_84b4),
    ("plain, Linux 5.10.223", 0xd678_dc11_5973_bc58),
    ("plain, Linux 6.1.192", 0xa065_cff0_c1df_2e7e),
    ("plain, Linux 6.12.107", 0x916b_3ebc_4a91_d4dc),
    ("plain, Linux 6.18.44", 0x349c_a6ff_e930_13f0),
    ("plain, Linux 7.3.4", 0x4bf5_2669_1c86_c2cd),
];

fn known() -> BTreeMap<String, u64> {
    KNOWN.into_iter().map(|(name, hash)| (name.to_owned(), hash)).collect()
}

#[test]
fn histories_have_known_hashes() {
    let hashes = hashes();
    let lines: Vec<String> =
        hashes.iter().map(|(name, hash)| format!("    (\"{name}\", {hash:#018x}),")).collect();
    assert_eq!(hashes, known(), "\n{}\n", lines.join("\n"));
}

/// Names this process to itself as one that prints.
const PRINTS: &str = "XSK_PRINTS_HASHES";

/// What the processes of the next test do.
#[test]
#[allow(clippy::print_stderr)]
fn prints_hashes_if_asked() {
    if env::var_os(PRINTS).is_some() {
        for (name, hash) in hashes() {
            eprintln!("hash {hash} of {name}");
        }
    }
}

/// Processes differ in where their memory is, in what is in it, and in the keys of their hash maps.
#[test]
fn processes_tell_the_same() {
    let program = env::current_exe().unwrap();
    let run = |setting: (&str, &str)| {
        let output = Command::new(&program)
            .args(["--exact", "prints_hashes_if_asked", "--nocapture", "--test-threads=1"])
            .envs([(PRINTS, "1"), setting])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("hash ")?.split_once(" of "));
        lines.map(|(hash, name)| (name.to_owned(), hash.parse().unwrap())).collect::<BTreeMap<_, u64>>()
    };
    // Fresh and freed memory is full of rubbish in the first (glibc); the stack of the second is elsewhere.
    for setting in [("GLIBC_TUNABLES", "glibc.malloc.perturb=165"), ("XSK_ROOM", &*"x".repeat(100_000))] {
        assert_eq!(run(setting), known(), "{}", setting.0);
    }
}

/// It does not matter which threads call, as long as their turns are the same.
#[test]
fn threads_that_take_turns_tell_the_same() {
    for seed in SEEDS {
        let [one, many] = [Users::InTurn, Users::OnThreads]
            .map(|users| history(seed, Profile::default(), seed % 2 == 1, users));
        assert!(one == many, "seed {seed}");
    }
}

#[test]
fn seeds_tell_different_histories() {
    let of = |seed| hash(&history(seed, Profile::default(), true, Users::InTurn));
    assert_eq!(of(7), of(7));
    assert_ne!(of(7), of(8));
}
