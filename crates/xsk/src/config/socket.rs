use std::time::Duration;

use super::{BindFlags, LibxdpFlags, QueueSize, XdpFlags};

/// The least budget that a socket may be given for a wakeup in copy mode, and the one that it has without
/// (`net/xdp/xsk.c:TX_BATCH_SIZE`).
pub const MIN_TX_BUDGET: u32 = 32;

/// How the built-in XDP program gets onto the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Attach {
    /// By a bpf_link (Linux 5.9): alone on the interface, and gone when the last socket of this process is, however the
    /// process ends.
    #[default]
    Link,
    /// Through libxdp's dispatcher, beside other XDP programs. It joins libxdp's default program if one is there, whoever
    /// attached it, and the last user of that program detaches it. Needs feature `libxdp`, Linux 5.10, CAP_SYS_ADMIN and a BPF
    /// file system (`mount -t bpf bpf /sys/fs/bpf`).
    ///
    /// A process that is killed counts as a user for ever: its program stays attached, passes on what no socket wants, and
    /// serves the next one who opens a socket. `xdp-loader unload <interface> --all` removes it.
    Dispatcher,
}

/// How a socket is made. See [`builder`](Self::builder).
#[derive(Debug, Clone, Copy)]
pub struct Config {
    rx_queue_size: QueueSize,
    tx_queue_size: QueueSize,
    libxdp_flags: LibxdpFlags,
    xdp_flags: XdpFlags,
    bind_flags: BindFlags,
    attach: Attach,
    busy_timeout: Duration,
    tx_budget: Option<u32>,
}

impl Default for Config {
    /// Rings of 2048 entries, no flags.
    fn default() -> Self {
        Self {
            rx_queue_size: QueueSize::DEFAULT,
            tx_queue_size: QueueSize::DEFAULT,
            libxdp_flags: LibxdpFlags::empty(),
            xdp_flags: XdpFlags::empty(),
            bind_flags: BindFlags::empty(),
            attach: Attach::Link,
            busy_timeout: Duration::from_secs(1),
            tx_budget: None,
        }
    }
}

impl Config {
    /// Starts from the defaults.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::new()
    }

    /// Entries of the RX ring.
    pub fn rx_queue_size(&self) -> QueueSize {
        self.rx_queue_size
    }

    /// Entries of the TX ring.
    pub fn tx_queue_size(&self) -> QueueSize {
        self.tx_queue_size
    }

    /// What the library leaves to the caller.
    pub fn libxdp_flags(&self) -> &LibxdpFlags {
        &self.libxdp_flags
    }

    /// Where the XDP program runs.
    pub fn xdp_flags(&self) -> &XdpFlags {
        &self.xdp_flags
    }

    /// How the socket binds.
    pub fn bind_flags(&self) -> &BindFlags {
        &self.bind_flags
    }

    /// How the XDP program is attached.
    pub fn attach(&self) -> Attach {
        self.attach
    }

    /// How long opening waits for a queue, or for locked memory, that a closed socket has not released yet.
    pub fn busy_timeout(&self) -> Duration {
        self.busy_timeout
    }

    /// Descriptors that a wakeup sends at most in copy mode; `None` for the kernel's 32.
    pub fn tx_budget(&self) -> Option<u32> {
        self.tx_budget
    }
}

/// Builds a socket's configuration.
#[derive(Debug, Default, Clone, Copy)]
pub struct ConfigBuilder {
    config: Config,
}

impl ConfigBuilder {
    /// Starts from the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Entries of the RX ring; 2048 by default.
    pub fn rx_queue_size(&mut self, size: QueueSize) -> &mut Self {
        self.config.rx_queue_size = size;
        self
    }

    /// Entries of the TX ring; 2048 by default.
    pub fn tx_queue_size(&mut self, size: QueueSize) -> &mut Self {
        self.config.tx_queue_size = size;
        self
    }

    /// What the library leaves to the caller; nothing by default.
    pub fn libxdp_flags(&mut self, flags: LibxdpFlags) -> &mut Self {
        self.config.libxdp_flags = flags;
        self
    }

    /// Where the XDP program runs; the kernel's choice by default.
    pub fn xdp_flags(&mut self, flags: XdpFlags) -> &mut Self {
        self.config.xdp_flags = flags;
        self
    }

    /// How the socket binds; no flags by default: zero copy where the driver has it, else copy mode.
    pub fn bind_flags(&mut self, flags: BindFlags) -> &mut Self {
        self.config.bind_flags = flags;
        self
    }

    /// How the XDP program is attached; by a link by default.
    pub fn attach(&mut self, attach: Attach) -> &mut Self {
        self.config.attach = attach;
        self
    }

    /// How long opening waits for a queue, or for locked memory, that a closed socket has not released yet: the kernel
    /// releases them some milliseconds later (`net/xdp/xsk_buff_pool.c:xp_put_pool`). One second by default.
    pub fn busy_timeout(&mut self, timeout: Duration) -> &mut Self {
        self.config.busy_timeout = timeout;
        self
    }

    /// How many descriptors a wakeup sends at most in copy mode (`XDP_MAX_TX_SKB_BUDGET`, Linux 6.17): at least
    /// [`MIN_TX_BUDGET`](super::MIN_TX_BUDGET), which is also what it is without this, and at most as many as the TX ring has
    /// entries (`net/xdp/xsk.c:xsk_setsockopt`); opening refuses other values. A larger one makes for fewer system calls. Kernels
    /// that do not have the option go on with their own budget, and a socket without a TX ring needs none.
    pub fn tx_budget(&mut self, descriptors: u32) -> &mut Self {
        self.config.tx_budget = Some(descriptors);
        self
    }

    /// The configuration.
    pub fn build(&self) -> Config {
        self.config
    }
}
