//! A data path in parts, one for each thread.

use xsk::Batch;

use super::Datapath;

/// Which thread has which ports. A port whose ends are with two threads is used by both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shares {
    threads: usize,
    /// Of each port: the thread that receives on it.
    receivers: Vec<usize>,
    /// Of each port: the thread that sends from it.
    senders: Vec<usize>,
}

impl Shares {
    /// `routes`: of each port, the one that its packets leave by. They are in order, so whatever leaves by one port is with
    /// one thread. There are as many threads as are wanted, or without a number, but no more than ports to leave by.
    pub(crate) fn new(wanted: Option<usize>, routes: &[usize]) -> Self {
        let mut exits = routes.to_vec();
        exits.sort_unstable();
        exits.dedup();
        let threads = wanted.unwrap_or(usize::MAX).clamp(1, exits.len().max(1));
        let of = |exit| exits.binary_search(&exit).ok().map(|rank| rank % threads);
        let receivers: Vec<usize> = routes.iter().map(|&exit| of(exit).unwrap_or(0)).collect();
        let senders = (0..routes.len()).map(|port| of(port).unwrap_or(receivers[port])).collect();
        Self { threads, receivers, senders }
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads
    }
}

impl Datapath {
    /// The part of each thread. They are on one pool.
    pub(crate) fn split(&mut self, shares: &Shares) -> Vec<Self> {
        let mut parts: Vec<Self> = (0..shares.threads)
            .map(|_| Self {
                receivers: Vec::new(),
                senders: Vec::new(),
                names: self.names.clone(),
                modes: self.modes.clone(),
                pool: self.pool.clone(),
                batch: self.batch,
                busy_poll: self.busy_poll,
                outbox: Batch::with_capacity(self.batch),
                idle: 0,
            })
            .collect();
        for receiver in self.receivers.drain(..) {
            parts[shares.receivers[receiver.index]].receivers.push(receiver);
        }
        for sender in self.senders.drain(..) {
            parts[shares.senders[sender.index]].senders.push(sender);
        }
        parts
    }

    /// Takes a part back.
    pub(crate) fn rejoin(&mut self, part: Self) {
        self.receivers.extend(part.receivers);
        self.senders.extend(part.senders);
        self.receivers.sort_by_key(|receiver| receiver.index);
        self.senders.sort_by_key(|sender| sender.index);
    }

    /// Routes between ports as those between the receivers and the senders that are here.
    pub(crate) fn routes(&self, routes: &[usize]) -> Vec<(usize, usize)> {
        let sender = |port| self.senders.iter().position(|sender| sender.index == port);
        let routes = self.receivers.iter().map(|receiver| sender(routes[receiver.index]));
        routes.enumerate().filter_map(|(from, to)| Some((from, to?))).collect()
    }

    /// The names of the ports on which a thread is to receive, and of those from which it is to send.
    pub(crate) fn names_of(&self, shares: &Shares, thread: usize) -> (Vec<&str>, Vec<&str>) {
        let name = |index: usize| self.names[index].as_str();
        let receivers = self.receivers.iter().map(|receiver| receiver.index);
        let senders = self.senders.iter().map(|sender| sender.index);
        (
            receivers.filter(|&port| shares.receivers[port] == thread).map(name).collect(),
            senders.filter(|&port| shares.senders[port] == thread).map(name).collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(wanted: Option<usize>, routes: &[usize]) -> (usize, Vec<usize>, Vec<usize>) {
        let Shares { threads, receivers, senders } = Shares::new(wanted, routes);
        (threads, receivers, senders)
    }

    #[test]
    fn a_thread_for_each_queue_or_fewer() {
        assert_eq!(shares(None, &[0, 1, 2]), (3, vec![0, 1, 2], vec![0, 1, 2]));
        assert_eq!(shares(Some(2), &[0, 1, 2]), (2, vec![0, 1, 0], vec![0, 1, 0]));
        assert_eq!(shares(Some(9), &[0, 1, 2]).0, 3);
    }

    #[test]
    fn what_leaves_by_one_port_is_with_one_thread() {
        // Two queues on either side: both directions of a queue are with one thread of two.
        assert_eq!(shares(None, &[2, 3, 0, 1]), (4, vec![2, 3, 0, 1], vec![0, 1, 2, 3]));
        assert_eq!(shares(Some(2), &[2, 3, 0, 1]), (2, vec![0, 1, 0, 1], vec![0, 1, 0, 1]));
        // Three queues over one: the two ports that nothing leaves by stay where their packets come in.
        let (threads, receivers, senders) = shares(None, &[3, 3, 3, 0]);
        assert_eq!((threads, receivers), (2, vec![1, 1, 1, 0]));
        assert_eq!(senders, [0, 1, 1, 1]);
    }
}
