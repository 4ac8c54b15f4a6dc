//! One file for each command. A command is parsed by clap into its struct, whose `run` does the work.

mod checkout;
mod clock;
mod doctor;
mod events;
mod find;
mod generate;
mod installed;
mod journal;
mod license;
mod on_lost;
mod port;
mod presence;
mod quarantine;
mod quickstart;
mod reclaim;
mod release;
mod run;
mod seat;
mod serve;
mod server;
pub(crate) mod status;
mod vendor;

use clap::{Parser, Subcommand};

use crate::{
    failure::Failure,
    terminal::{ColorWhen, Terminal},
};

/// What `--version` says beyond `-V`: what this build speaks and reads, for support.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nprotocol  /v1, TLS 1.3, port 1588 (IANA: triquest-lm)\nlicenses  triquest-lm/v1/license\ncrypto    aws-lc-rs"
);

/// The license manager on port 1588: sign licenses, serve them, hold seats.
#[derive(Debug, Parser)]
#[command(name = "triquest-lm", version, long_version = LONG_VERSION, arg_required_else_help = true, subcommand_required = true, max_term_width = 120)]
pub(crate) struct Cli {
    /// When to color the output; auto: on a terminal, unless NO_COLOR is set, and everywhere if CLICOLOR_FORCE is
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t, display_order = 900)]
    color: ColorWhen,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The same as `journal backup`
    #[command(hide = true)]
    Backup(journal::BackupCommand),
    /// Take a seat for a script and keep it until `release`
    Checkout(checkout::CheckoutCommand),
    /// Believe the server's clock again after a jump
    #[command(subcommand)]
    Clock(clock::ClockCommand),
    /// Print the completion script of a shell
    Completions(generate::CompletionsCommand),
    /// Look in order whether everything is well between this computer and its server
    Doctor(doctor::DoctorCommand),
    /// Show what has happened, and what happens
    Events(events::EventsCommand),
    /// Look for license servers near, and at who they are
    Find(find::FindCommand),
    /// Check, save and restore what the server keeps
    #[command(subcommand)]
    Journal(journal::JournalCommand),
    /// Make, check, install and list licenses
    #[command(subcommand)]
    License(LicenseCommands),
    /// Write the manual pages into a folder
    Man(generate::ManCommand),
    /// Tell what is on a port: registered for, listening here, genuine, what to do
    Port(port::PortCommand),
    /// Let the end of a program free its seats at once again
    #[command(subcommand)]
    Presence(presence::PresenceCommand),
    /// End the wait of a server that was restored or lost its history
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineCommand),
    /// Show the whole job on this machine: vendor, license, server, three clients
    Quickstart(quickstart::QuickstartCommand),
    #[command(hide = true)]
    QuickstartClient(quickstart::QuickstartClientCommand),
    /// Take a lease back from its holder
    Reclaim(reclaim::ReclaimCommand),
    /// Give back a seat that `checkout` took
    Release(release::ReleaseCommand),
    /// The same as `journal restore`
    #[command(hide = true)]
    Restore(journal::RestoreCommand),
    /// Run a program while a seat is held for it
    Run(run::RunCommand),
    #[command(hide = true)]
    RunProgram(run::RunProgramCommand),
    #[command(hide = true)]
    RunWatcher(run::RunWatcherCommand),
    /// Ask whether a seat that `checkout` took still holds
    Seat(seat::SeatCommand),
    /// Run the server
    Serve(serve::ServeCommand),
    /// Ask what the server of this machine is
    #[command(subcommand)]
    Server(server::ServerCommand),
    /// Show who holds what, since when, how idle
    Status(status::StatusCommand),
    /// Make and rotate the vendor's signing keys
    #[command(subcommand)]
    Vendor(vendor::VendorCommand),
}

/// `license`: what needs only files, and what needs the server.
#[derive(Debug, Subcommand)]
enum LicenseCommands {
    #[command(flatten)]
    Files(license::LicenseCommand),
    #[command(flatten)]
    Installed(installed::InstalledCommand),
}

/// Runs the command that was asked for and returns the exit code.
///
/// # Errors
/// A [`Failure`], which `main` shows.
pub(crate) fn run(cli: Cli, terminal: &Terminal) -> Result<u8, Failure> {
    match cli.command {
        Command::Backup(command) => command.run(terminal),
        Command::Checkout(command) => command.run(terminal),
        Command::Clock(command) => command.run(terminal),
        Command::Completions(command) => command.run(terminal),
        Command::Doctor(command) => command.run(terminal),
        Command::Events(command) => command.run(terminal),
        Command::Find(command) => command.run(terminal),
        Command::Journal(command) => command.run(terminal),
        Command::License(LicenseCommands::Files(command)) => command.run(terminal),
        Command::License(LicenseCommands::Installed(command)) => command.run(terminal),
        Command::Man(command) => command.run(terminal),
        Command::Port(command) => command.run(terminal),
        Command::Presence(command) => command.run(terminal),
        Command::Quarantine(command) => command.run(terminal),
        Command::Quickstart(command) => command.run(terminal),
        Command::QuickstartClient(command) => command.run(terminal),
        Command::Reclaim(command) => command.run(terminal),
        Command::Release(command) => command.run(terminal),
        Command::Restore(command) => command.run(terminal),
        Command::Run(command) => command.run(terminal),
        Command::RunProgram(command) => command.run(),
        Command::RunWatcher(command) => command.run(),
        Command::Seat(command) => command.run(terminal),
        Command::Serve(command) => command.run(terminal),
        Command::Server(command) => command.run(terminal),
        Command::Status(command) => command.run(terminal),
        Command::Vendor(command) => command.run(terminal),
    }
}
