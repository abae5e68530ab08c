use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Backend;

/// Calls until the result is another than `errno`, at most for `limit`: the kernel gives back queues and locked memory of
/// closed sockets some time after the close (`net/xdp/xsk_buff_pool.c:xp_put_pool`). Returns how long that took as well.
pub(crate) fn retry<T>(
    backend: &Arc<dyn Backend>,
    errno: i32,
    limit: Duration,
    mut call: impl FnMut() -> io::Result<T>,
) -> (io::Result<T>, Duration) {
    let start = backend.now();
    let mut pause = Duration::from_millis(1);
    loop {
        let result = call();
        let waited = backend.now().saturating_sub(start);
        match &result {
            Err(error) if error.raw_os_error() == Some(errno) && waited < limit => {
                backend.sleep(pause.min(limit - waited));
                pause = (pause * 2).min(Duration::from_millis(10));
            }
            _ => return (result, waited),
        }
    }
}
