//! `serve`: the server.

use std::{net::SocketAddr, path::PathBuf};

use triquest_journal::{
    JournalErrorKind,
    check::{QuarantineToCome, quarantine_to_come},
};
use triquest_server::{
    Running,
    config::{LogFormat, LogLevel, Overrides, Settings},
    identity::{self, Beginning},
};
use triquest_wire::{Lineage, NamedLineage};

use crate::{
    admin::data_argument,
    failure::{Failure, exit},
    terminal::{Terminal, escape, left},
};

/// `serve`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = triquest_server::Config::help())]
pub(crate) struct ServeCommand {
    /// Configuration file [default: config.toml in the data directory, if there is one; env: TRIQUEST_LM_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory [default: /var/lib/triquest-lm for root, else ~/.local/state/triquest-lm; env: TRIQUEST_LM_DATA]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to listen, any number of times [default: port 1588 on every address; env: TRIQUEST_LM_LISTEN]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<String>,
    /// Begin in a named data directory without a journal: a new server with a new key; if a server's key is there, it is kept, and a new history begins
    /// that grants nothing until seats of the lost one must have ended
    #[arg(long)]
    init: bool,
    /// Check the configuration and the data directory, say what is wrong or what a start would begin, and exit as the start would
    #[arg(long)]
    check: bool,
    /// Believe the wall clock as it stands now, even if it jumped
    #[arg(long)]
    accept_clock: bool,
    /// Grant again at once after the restore or rollback that began this history, although seats granted in lost history may still be in use. It names the
    /// history as `journal restore`, the log and `status` do; the quarantine of another one goes on, so that a flag that is left here ends no later one
    #[arg(long, value_name = "LINEAGE")]
    end_quarantine: Option<NamedLineage>,
    /// Form of the log [default: text; env: TRIQUEST_LM_LOG_FORMAT]
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"])]
    log_format: Option<String>,
    /// How much is logged [default: info; env: TRIQUEST_LM_LOG_LEVEL]
    #[arg(long, value_name = "LEVEL", value_parser = ["error", "warn", "info", "debug", "trace"])]
    log_level: Option<String>,
}

impl ServeCommand {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<u8, Failure> {
        let overrides = Overrides {
            data: self.data,
            listen: self.listen,
            log_format: self.log_format.map(|format| if format == "json" { LogFormat::Json } else { LogFormat::Text }),
            log_level: self.log_level.map(|level| match level.as_str() {
                "error" => LogLevel::Error,
                "warn" => LogLevel::Warn,
                "debug" => LogLevel::Debug,
                "trace" => LogLevel::Trace,
                _ => LogLevel::Info,
            }),
        };
        let wrong = |fault: triquest_server::config::Fault| Failure::from(fault).with_code(exit::USAGE);
        let settings = Settings::load(self.config.as_deref(), overrides, &|name| std::env::var_os(name)).map_err(wrong)?;
        let settings = Settings { init: self.init, accept_clock: self.accept_clock, end_quarantine: self.end_quarantine, ..settings };
        if self.check {
            let begins = check(&settings)?;
            settings.config.warnings().iter().for_each(|said| terminal.warning(escape(said)));
            let quarantine = quarantine(begins, &settings)?;
            let from = settings.file.as_ref().map_or_else(|| "no file, so the defaults".to_owned(), |file| file.display().to_string());
            let data = settings.config.data_dir();
            terminal
                .verb("Checked", format_args!("{}: good; {}", escape(&from), would(begins, &escape(&data.to_string_lossy()), quarantine)));
            if let (Some(quarantine), Some(named)) = (&quarantine, &settings.end_quarantine) {
                if named.names(&Lineage(quarantine.lineage.0)) {
                    terminal.note("--end-quarantine would end that quarantine at once");
                } else {
                    terminal.warning(format_args!("--end-quarantine {named} names another history, so it would end nothing: take it out"));
                }
            }
            return Ok(exit::OK);
        }
        let for_people = settings.config.log.format == LogFormat::Text;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let terminal = *terminal;
        runtime.block_on(triquest_server::run(settings, move |running| {
            if for_people {
                announce(&terminal, running);
            }
        }))?;
        Ok(exit::OK)
    }
}

/// What can be wrong without starting anything.
fn check(settings: &Settings) -> Result<Beginning, Failure> {
    let wrong = |fault: triquest_server::config::Fault| Failure::from(fault).with_code(exit::USAGE);
    if settings.config.tls.certificate.is_some() {
        triquest_server::identity::Certificate::load(&settings.config).map_err(wrong)?;
    }
    if let Some(group) = &settings.config.admin_group
        && triquest_server::sys::group_id(group).is_none()
    {
        return Err(Failure::usage(format_args!("admin_group = \"{}\": this machine has no such group", escape(group)))
            .hint("make it (groupadd --system NAME) or name another"));
    }
    Ok(identity::look_at_data_dir(settings)?)
}

/// What a start would grant nothing new in, because it begins a new history after a restored one.
fn quarantine(begins: Beginning, settings: &Settings) -> Result<Option<QuarantineToCome>, Failure> {
    if begins != Beginning::GoesOn {
        return Ok(None);
    }
    match quarantine_to_come(&settings.config.data_dir()) {
        Ok(to_come) => Ok(to_come),
        // A server runs on it, so nothing waits for a start.
        Err(error) if error.kind == JournalErrorKind::Locked => Ok(None),
        Err(error) => Err(Failure::from(&error)),
    }
}

fn would(begin: Beginning, data: &str, quarantine: Option<QuarantineToCome>) -> String {
    match begin {
        Beginning::New => format!("a start would make a new server with a new key in {data}"),
        Beginning::AfterLoss => {
            format!("a start would keep the server's key in {data}, whose journal is gone, and begin a new history with a quarantine")
        }
        _ => match quarantine {
            None => format!("a start would go on with the server in {data}"),
            Some(QuarantineToCome { lineage, ms }) => format!(
                "a start would begin a new history ({}) after the restored one in {data}, with a quarantine of at least {}, in which seats go only to those \
                 who show that they had them",
                Lineage(lineage.0).short(),
                left(ms)
            ),
        },
    }
}

fn announce(terminal: &Terminal, running: &Running) {
    let data = escape(&running.data_dir().to_string_lossy()).into_owned();
    let addresses = running.addresses().iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
    match running.beginning() {
        Beginning::New => terminal.verb("Made", format_args!("a new server with a new key in {data}: licenses must name this key")),
        Beginning::AfterLoss => {
            terminal.verb("Kept", format_args!("the server's key in {data}; its journal is gone, so a new history begins"))
        }
        _ => {}
    }
    if let Some(ms) = running.quarantine_ms() {
        terminal.verb(
            "Quarantine",
            format_args!(
                "no new seats for {}, seats of lost history may still be in use; to end it sooner: triquest-lm quarantine end --lineage {} --reason TEXT{}",
                left(ms),
                running.lineage().short(),
                data_argument(running.data_dir())
            ),
        );
    }
    terminal.verb("Serving", format_args!("{addresses}, data in {data}"));
    terminal.verb("Key", running.server_key());
    terminal.verb("Discovery", escape(&running.discovery().to_string()));
    if let Some(port) = running.addresses().iter().filter(|address| !address.ip().is_loopback()).map(SocketAddr::port).next() {
        terminal.verb("Firewall", running.firewall(port));
    }
}
