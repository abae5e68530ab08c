//! Receives without any rights: `unprivileged INTERFACE`, started as root.
//!
//! The process that is started attaches the XDP program and opens the socket. It hands socket and map to a child, as its
//! standard input and output, which runs as nobody: it can receive and send on one queue, and nothing else.
#![allow(clippy::print_stderr)]

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use std::{env, error::Error, io};

use xsk::backend::Linux;
use xsk::config::XdpFlags;
use xsk::program::{Redirect, XskMap};
use xsk::{Pool, PoolConfig, Port, PortConfig};

const NOBODY: u32 = 65534;

/// Opens a port on queue 0 with what was handed over.
pub fn open(interface: &str, socket: OwnedFd, map: OwnedFd) -> Result<Port, Box<dyn Error>> {
    let kernel = Arc::new(Linux::with_sockets([socket])?);
    // What a process may lock without rights is often 8 MiB.
    let pool = Pool::new_in(kernel, PoolConfig::default().frames(1024))?;
    let config = PortConfig::default().rx_ring(512).tx_ring(512).fill_ring(512).completion_ring(512);
    let port = Port::open(&pool, interface, 0, config.no_program())?;
    XskMap::from(map).insert_port(0, &port)?;
    Ok(port)
}

fn start(interface: &str) -> Result<(), Box<dyn Error>> {
    let redirect = Redirect::attach(interface, XdpFlags::empty())?;
    let map = redirect.map().as_fd().try_clone_to_owned()?;
    let mut child = Command::new("/proc/self/exe");
    child.args(["--child", interface]).stdin(Linux::open_socket()?).stdout(map).uid(NOBODY).gid(NOBODY);
    // The program stays attached as long as the child runs.
    let status = child.status()?;
    if status.success() { Ok(()) } else { Err(format!("the child ended: {status}").into()) }
}

fn receive(interface: &str) -> Result<(), Box<dyn Error>> {
    let (socket, map) =
        (io::stdin().as_fd().try_clone_to_owned()?, io::stdout().as_fd().try_clone_to_owned()?);
    let mut port = open(interface, socket, map)?;
    let mut packets = 0;
    loop {
        port.wait(Some(Duration::from_secs(1)))?;
        packets += port.for_each(|_| {})?;
        eprintln!("{packets} packets");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--child", interface] => receive(interface),
        [interface] => start(interface),
        _ => Err("usage: unprivileged INTERFACE".into()),
    }
}
