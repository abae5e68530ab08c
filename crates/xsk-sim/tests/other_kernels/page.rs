//! `docs/profiles.md`: the rows of the profiles, and how each is known.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use xsk_sim::{Basis, Profile, Row};

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/profiles.md")
}

/// Oldest first, as one reads a history.
fn columns() -> Vec<Vec<Row>> {
    Profile::ALL.iter().rev().map(Profile::rows).collect()
}

fn cell(row: &Row) -> String {
    match row.basis {
        None => "-".to_owned(),
        Some(Basis::Measured | Basis::Verified) => row.value.clone(),
        Some(basis) => format!("{} ({basis})", row.value),
    }
}

fn page() -> String {
    let mut page = "\
# Profiles of kernels

`SimKernel::with_profile` makes a simulated kernel that behaves like one of these. `Profile::LINUX_6_18` is the default: it is
the one that is compared with a running kernel of the same version. This page is written by the test run:

```sh
XSK_WRITE_TABLE=1 cargo test -p xsk-sim --test other_kernels page
```

A value was seen on a kernel of that very version, unless it says: *from source*, it was read there and never seen; *assumed*,
nobody looked, and it is the default's. `Profile::rows` and `Profile::unmeasured` say the same to a program. What has no row is
the default's on every kernel, and was not looked at on the others. Tests of each row, on all kernels:
`crates/xsk-sim/tests/other_kernels/rows.rs`. The same tests ask Debian's kernels in virtual machines, but for what crashes
them:

```sh
./ci/other-kernels
```

5.10.223, 6.12.107 and 7.3.4 were asked in that way, and of 6.1 Debian's 6.1.176. Debian's 6.12.117 is another one than
6.12.107: it completes invalid TX descriptors, and a failed bind leaves no mark.

Linux 7.3 refuses to bind a UMEM with software checksums to a device that wants packets in several pieces; no device here
does. The row of zero copy was asked on emulated cards (`./ci/zero-copy`), of packets of one buffer; the rest of it is from
source. What drivers do in their own way there is in [Semantics](semantics.md), 15.

"
    .to_owned();
    let columns = columns();
    let titles: Vec<&str> = Profile::ALL.iter().rev().map(|profile| profile.name).collect();
    let _ = writeln!(page, "| behaviour | {} |", titles.join(" | "));
    let _ = writeln!(page, "|---|{}", "---|".repeat(titles.len()));
    for (at, row) in columns[0].iter().enumerate() {
        let cells: Vec<String> = columns.iter().map(|column| cell(&column[at])).collect();
        let _ = writeln!(page, "| {} | {} |", row.name, cells.join(" | "));
    }
    page
}

#[test]
fn the_page_is_as_the_profiles_say() {
    let page = page();
    if std::env::var_os("XSK_WRITE_TABLE").is_some() {
        fs::write(path(), &page).expect("the page can be written");
    }
    let found = fs::read_to_string(path()).expect("the page");
    assert!(found == page, "docs/profiles.md is not what the profiles say: see there how it is written");
}

#[test]
fn what_nobody_looked_at_is_marked() {
    // The kernel that was compared is known but for two ways to crash it.
    let unsure = ["packet for a socket without an RX ring", "several buffers, too few valid fill entries"];
    assert_eq!(Profile::LINUX_6_18.unmeasured(), unsure);
    for profile in Profile::ALL {
        let rows = profile.rows();
        assert!(rows.iter().all(|row| row.basis.is_some() != row.value.is_empty()), "{}", profile.name);
        let verified = rows.iter().any(|row| row.basis == Some(Basis::Verified));
        assert_eq!(verified, profile == Profile::LINUX_6_18, "{}", profile.name);
        if profile != Profile::LINUX_6_18 {
            assert!(profile.unmeasured().contains(&"what a packet of 60 bytes counts in SO_SNDBUF"));
        }
    }
    // What is assumed is the default's.
    let default = Profile::default().rows();
    for row in Profile::ALL.iter().flat_map(Profile::rows).filter(|row| row.basis == Some(Basis::Assumed)) {
        let of_default = default.iter().find(|other| other.name == row.name).expect("the same rows");
        assert!(row.value == of_default.value, "{}", row.name);
    }
}
