//! Where the property tests keep the seeds of the failures they found.

use std::path::Path;
use std::sync::Mutex;

use proptest::test_runner::{Config, FileFailurePersistence};

/// One for each test, where a leak check finds them.
static KEPT: Mutex<Vec<&str>> = Mutex::new(Vec::new());

/// The default configuration, with the seeds of `test` in `proptest-regressions/<test>.txt` at the top of the repository,
/// where they are replayed before anything new is tried. Outside the repository (a published package) nothing is kept.
///
/// `PROPTEST_CASES` and its relatives work as usual.
pub fn config(test: &str) -> Config {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|above| above.join("proptest-regressions"))
        .find(|folder| folder.is_dir());
    let failure_persistence = folder.map(|folder| {
        let path = folder.join(test).with_extension("txt");
        // The type wants a path that lives for ever.
        let path: &'static str = Box::leak(path.to_string_lossy().into_owned().into_boxed_str());
        KEPT.lock().unwrap().push(path);
        Box::new(FileFailurePersistence::Direct(path)) as _
    });
    Config { failure_persistence, ..Config::default() }
}
