//! Free frames that one thread has at hand.

use super::Pool;

/// Frames that move at once between the rings and a cache, at most.
pub(crate) const BURST: usize = 64;

/// Free frames of a port. What it has too many of goes to the depot, in magazines; what it lacks comes from there.
#[derive(Debug)]
pub(crate) struct Cache {
    frames: Vec<u32>,
    /// Frames that it keeps at most.
    limit: usize,
    magazine: usize,
    pool: Pool,
}

impl Cache {
    pub(crate) fn new(pool: &Pool) -> Self {
        let magazine = pool.memory().magazine();
        let limit = 4 * magazine;
        // Everything that is put is put after `make_room`.
        let frames = Vec::with_capacity(limit.max(magazine + BURST) + BURST);
        Self { frames, limit, magazine, pool: pool.clone() }
    }

    #[inline]
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Takes one frame.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<u32> {
        if self.frames.is_empty() {
            self.refill(1);
        }
        self.frames.pop()
    }

    /// Up to `count` frames, which are taken once [`taken`](Self::taken) is called with how many.
    #[inline]
    pub(crate) fn at_hand(&mut self, count: usize) -> &[u32] {
        if self.frames.len() < count {
            self.refill(count);
        }
        &self.frames[self.frames.len().saturating_sub(count)..]
    }

    /// The last so many frames were taken.
    #[inline]
    pub(crate) fn taken(&mut self, count: usize) {
        self.frames.truncate(self.frames.len().saturating_sub(count));
    }

    /// Makes room for [`BURST`] more frames.
    #[inline]
    pub(crate) fn make_room(&mut self) {
        if self.frames.len() > self.limit {
            self.spill();
        }
    }

    /// Puts a frame that is nobody else's. No more than [`BURST`] after [`make_room`](Self::make_room), or the cache grows.
    #[inline]
    pub(crate) fn put(&mut self, frame: u32) {
        self.frames.push(frame);
    }

    /// The oldest frames go; what was used last is still in the processor's cache.
    #[cold]
    fn spill(&mut self) {
        let keep = self.limit - self.magazine;
        let surplus = self.frames.len() - keep;
        self.pool.memory().put(&self.frames[..surplus]);
        self.frames.drain(..surplus);
    }

    #[cold]
    fn refill(&mut self, count: usize) {
        let memory = self.pool.memory();
        while self.frames.len() < count {
            if let Some(first) = memory.lists().take_magazine() {
                self.frames.extend(memory.chain(first));
            } else if let Some((first, _)) = memory.lists().take_returned() {
                let mut returned = memory.chain(first);
                self.frames.extend(returned.by_ref().take(self.magazine));
                memory.put_chain(returned);
            } else {
                return;
            }
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.pool.memory().put(&self.frames);
    }
}
