//! `triquest-bench`: what the server costs, against what nothing can undercut, and whether it decides as a naive model does.
//!
//! Everything runs on the loopback, with processes and folders that are made here and end here, and is bounded in count and time.

mod attack;
mod client;
mod demo;
mod experiments;
mod floors;
mod history;
mod load;
mod replay;
mod report;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "triquest-bench", version, about)]
struct Arguments {
    /// The server's program [default: triquest-lm beside this one]
    #[arg(long, global = true, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Where data directories are made; it decides which disk is measured [default: the system's folder for temporary files]
    #[arg(long, global = true, value_name = "DIR")]
    folder: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Asks one kind of thing on some connections, in a closed loop or at a rate
    Load {
        /// What is asked
        #[arg(value_enum)]
        operation: load::Operation,
        /// Connections
        #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=4000))]
        connections: u16,
        /// Requests a second over all connections; without it, the next follows the answer
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        rate: Option<u32>,
        /// Seconds that are measured
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=600))]
        seconds: u16,
        /// Leases that are held before anything is measured
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=2_000_000))]
        population: u64,
    },
    /// Answers an empty 200 over the same stack, until it is stopped
    FloorEmpty,
    /// Appends and waits for the disk
    FloorAppend {
        /// Bytes of each append
        #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
        bytes: u32,
        /// Seconds that are measured
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=600))]
        seconds: u16,
    },
    /// Every operation at 1, 16 and 256 connections, taking turns with the floors; a table of ratios
    Suite {
        /// Seconds of each turn
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=60))]
        seconds: u16,
        /// Turns
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=20))]
        turns: u16,
    },
    /// Resident memory per live lease
    Memory {
        /// Leases
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=4_000_000))]
        leases: u64,
    },
    /// Time to ready after a crash
    Restart {
        /// Leases
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=4_000_000))]
        leases: u64,
    },
    /// Cost per operation with few and many pools and leases
    Scale {
        /// Pools of the larger server
        #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(10..=200_000))]
        pools: u32,
        /// Leases of the larger server
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=4_000_000))]
        leases: u64,
    },
    /// Longest wait of one client while leases grow to a million, and while all expire at once
    Stall {
        /// Leases
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=4_000_000))]
        leases: u64,
    },
    /// Hostile clients beside honest ones: what each attack costs those, before, during and after it
    Attack {
        /// Only this one
        #[arg(long, value_enum, value_name = "NAME")]
        only: Option<attack::hostile::Attack>,
        /// Seconds of each part
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=120))]
        seconds: u16,
        /// Report only: succeed whatever was measured
        #[arg(long)]
        report: bool,
        /// Measure memory instead: what is left of an attack so many seconds after its end. The server remembers ids for an hour
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
        forgotten: Option<u64>,
    },
    /// The hostile side of an attack, on this machine only
    #[command(hide = true)]
    Hostile {
        /// Which
        #[arg(value_enum)]
        attack: attack::hostile::Attack,
        /// The server
        #[arg(long)]
        address: std::net::SocketAddr,
        /// It ends by itself after so long
        #[arg(long)]
        seconds: u16,
    },
    /// Random clients that ask, wait, renew and die while the server is killed, stopped, paused, robbed of its disk and given other licenses, in some worlds
    /// by a vendor that changes its key; at the end an old copy of its data is put in place, and a backup is restored. Whatever clients were told is then
    /// judged against the journal and against each other. The disk becomes full only where a small one may be mounted
    History {
        /// Seconds in all, about: two seeds run at a time, and each has the same share
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(20..=86_400))]
        seconds: u64,
        /// What decides all that is random but timing; may be given several times [default: 1588 and 32]
        #[arg(long = "seed", value_name = "SEED")]
        seeds: Vec<u64>,
        /// This process may mount what it likes: nobody else sees it
        #[arg(long, hide = true)]
        own_mounts: bool,
    },
    /// Replays real usage through a real server and compares every decision and count with a naive model
    Replay {
        /// Files of events [default: those under bench/data]
        files: Vec<PathBuf>,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let setting = experiments::Setting { program: arguments.program, folder: arguments.folder };
    if let Command::History { seconds, seeds, own_mounts: false } = &arguments.command
        && history::run_with_mounts(&setting, *seconds, seeds)?
    {
        return Ok(());
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        match arguments.command {
            Command::Load { operation, connections, rate, seconds, population } => {
                experiments::load(&setting, operation, connections.into(), rate, Duration::from_secs(seconds.into()), population).await
            }
            Command::FloorEmpty => floors::serve_empty().await,
            Command::FloorAppend { bytes, seconds } => experiments::append(&setting, bytes as usize, Duration::from_secs(seconds.into())),
            Command::Suite { seconds, turns } => experiments::suite(&setting, Duration::from_secs(seconds.into()), turns).await,
            Command::Memory { leases } => experiments::memory(&setting, leases).await,
            Command::Restart { leases } => experiments::restart(&setting, leases).await,
            Command::Scale { pools, leases } => experiments::scale(&setting, pools, leases).await,
            Command::Stall { leases } => experiments::stall(&setting, leases).await,
            Command::Attack { only, seconds, report, forgotten } => {
                let length = Duration::from_secs(seconds.into());
                match forgotten {
                    Some(forgotten) => attack::forget(&setting, only, length, Duration::from_secs(forgotten), report).await,
                    None => attack::run(&setting, only, length, report).await,
                }
            }
            Command::Hostile { attack, address, seconds } => {
                attack::hostile::run(attack, address, Duration::from_secs(seconds.into())).await
            }
            Command::History { seconds, seeds, own_mounts } => {
                let seeds = if seeds.is_empty() { history::SEEDS.to_vec() } else { seeds };
                history::run(setting, seconds, &seeds, own_mounts).await
            }
            Command::Replay { files } => replay::run(&setting, files).await,
        }
    })
}
