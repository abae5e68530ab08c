//! The seeds of failures land in `proptest-regressions/`, and are tried first.

mod support;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use support::regressions;

/// The folder at the top of the repository; `None` in a published package.
fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proptest-regressions");
    folder.is_dir().then_some(folder)
}

/// Removes the seed again, however the test ends.
struct Remove(PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn the_seed_of_a_failure_is_kept_and_tried_first() {
    let Some(folder) = folder() else { return };
    let name = format!("a-check-of-this-folder-{}", std::process::id());
    let file = Remove(folder.join(&name).with_extension("txt"));
    let run = || {
        let tried = RefCell::new(Vec::new());
        let config = Config { max_shrink_iters: 0, ..regressions::config(&name) };
        let result = TestRunner::new(config).run(&(0..u64::MAX), |value| {
            tried.borrow_mut().push(value);
            if value % 7 == 0 { Err(TestCaseError::fail("on purpose")) } else { Ok(()) }
        });
        let Err(TestError::Fail(_, failing)) = result else { panic!("{result:?}") };
        (failing, tried.into_inner())
    };
    let (failing, _) = run();
    let kept = fs::read_to_string(&file.0).expect("a seed");
    assert!(kept.lines().any(|line| line.starts_with("cc ")), "{kept}");
    let (again, tried) = run();
    assert_eq!((again, tried.as_slice()), (failing, &[failing][..]));
}
