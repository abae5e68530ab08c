//! The one table of memory orderings.
//!
//! Every atomic access of the rings and of the free lists names a row of [`Order`]; no other module names an `Ordering`. Each row carries the
//! argument for its strength and its partner in the kernel, and the model tests weaken each row in turn and expect a
//! failing model for it, so none is stronger than it needs to be and none can be lost unnoticed.
//!
//! Kernel names are of `net/xdp/xsk_queue.h`, Linux 6.18, where the pairing of the barriers is described at the top.

use core::sync::atomic::Ordering;

/// A named memory ordering: which access of the ring protocol it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// A consumer (RX, completion) reads the producer index. **Acquire**: the entries that the producer wrote before it
    /// published the index must be visible to the reads that follow. Pairs with the store-release in
    /// `__xskq_prod_submit`.
    ReadProducer,
    /// A producer (fill, TX) publishes its index. **Release**: the entries, and the packet bytes they name, must be
    /// visible before the index. Pairs with the load-acquire in `__xskq_cons_peek`.
    PublishProducer,
    /// A producer (fill, TX) reads the consumer index. **Acquire**: the peer's reads of an entry must be over before the
    /// slot is written again. Pairs with the store-release in `__xskq_cons_release`.
    ReadConsumer,
    /// A consumer (RX, completion) publishes its index. **Release**: our reads of the entries must be over before the
    /// producer may write the slots again. Pairs with the control dependency behind `READ_ONCE(consumer)` in
    /// `xskq_prod_nb_free`.
    PublishConsumer,
    /// Reading the flags word. **Relaxed**: it is a hint; what makes it dependable is [`Order::WakeupFence`] before it.
    ReadFlags,
    /// Between publishing descriptors and reading the need-wakeup flag. **Sequentially consistent fence**: without it
    /// the processor may read the flag first, and both sides may then miss each other for good (store buffering). Its
    /// partner is the kernel setting the flag and then looking at the ring again (`xsk_set_tx_need_wakeup`,
    /// `xsk_set_rx_need_wakeup` and their callers in drivers), which not every driver fences: see
    /// [`Producer::needs_wakeup`](crate::ring::Producer::needs_wakeup) for what covers that.
    WakeupFence,
    /// A frame goes to a shared list, or is counted home after the list was closed. **Release**: what its holder did with
    /// it, and the links behind it, must be visible to whoever takes it. Pairs with [`Order::TakeFrames`]; the exchanges of
    /// others in between keep the pair together.
    PutFrames,
    /// Reading the head of a shared list whose frames are taken: of the depot before its head is moved, of the returned frames
    /// after they are taken, or when none is missing any more. **Acquire**: pairs with [`Order::PutFrames`].
    TakeFrames,
    /// Moving the head of a shared list past frames that are taken. **Relaxed**: [`Order::TakeFrames`] acquires them. A head of
    /// the depot that is still the same is of the same change, as it counts them, so that may be before; one of the returned
    /// frames need not be, so there it is after.
    UnlinkFrames,
    /// Reading what is noted of a frame: what follows it, who has it. **Relaxed**: notes travel with their frame, which
    /// [`Order::PutFrames`] or the rings hand over; who has no right to the frame reads an old note or a new one, and
    /// neither is the one that gives him a right.
    ReadNote,
    /// Writing it. **Relaxed**, as above.
    WriteNote,
    /// Writing it if it is still what it was, and not what somebody else has written meanwhile. **Relaxed**, as above.
    PassNote,
}

/// Whether a row of the table is a load, a store, a compare-and-exchange or a fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// An atomic load.
    Load,
    /// An atomic store.
    Store,
    /// A compare-and-exchange; the strength is that of its success, failing is relaxed.
    Exchange,
    /// A fence.
    Fence,
}

impl Order {
    /// Every row.
    pub const ALL: [Self; 12] = [
        Self::ReadProducer,
        Self::PublishProducer,
        Self::ReadConsumer,
        Self::PublishConsumer,
        Self::ReadFlags,
        Self::WakeupFence,
        Self::PutFrames,
        Self::TakeFrames,
        Self::UnlinkFrames,
        Self::ReadNote,
        Self::WriteNote,
        Self::PassNote,
    ];

    /// The strength of this row.
    #[inline(always)]
    pub const fn ordering(self) -> Ordering {
        match self {
            Self::ReadProducer | Self::ReadConsumer | Self::TakeFrames => Ordering::Acquire,
            Self::PublishProducer | Self::PublishConsumer | Self::PutFrames => Ordering::Release,
            Self::ReadFlags | Self::UnlinkFrames | Self::ReadNote | Self::WriteNote | Self::PassNote => {
                Ordering::Relaxed
            }
            Self::WakeupFence => Ordering::SeqCst,
        }
    }

    /// What kind of access the row is for.
    pub const fn access(self) -> Access {
        match self {
            Self::ReadProducer | Self::ReadConsumer | Self::ReadFlags | Self::TakeFrames | Self::ReadNote => {
                Access::Load
            }
            Self::PublishProducer | Self::PublishConsumer | Self::WriteNote => Access::Store,
            Self::PutFrames | Self::UnlinkFrames | Self::PassNote => Access::Exchange,
            Self::WakeupFence => Access::Fence,
        }
    }

    /// The strength of a compare-and-exchange that fails, whatever the row: it moves nothing.
    pub const FAILED: Ordering = Ordering::Relaxed;

    /// Whether the row can be weakened: false only for a row that is relaxed already. A model must fail for each row
    /// where this is true once that row is relaxed (a fence: left out).
    pub const fn is_load_bearing(self) -> bool {
        !matches!(self.ordering(), Ordering::Relaxed)
    }
}
