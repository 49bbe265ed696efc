//! `sealkv serve`: settings in, a running node, an exit status out.

use std::path::Path;
use std::process::ExitCode;

use crate::exit::Blame;
use crate::node;
use crate::node::config::Config;
use crate::node::process;
use crate::node::settings::ConfigError;
use crate::node::settings::LogFormat;
use crate::node::settings::Settings;
use crate::node::settings::check_environment;

/// Runs a node until a signal or a fatal error ends it; with `check_only`, only checks the settings.
pub fn run(file: Option<&Path>, check_only: bool, flags: Settings) -> ExitCode {
    let (format, filter) = (flags.log_format, flags.log_level.clone());
    let settings = match settings(file, flags) {
        Ok(settings) => settings,
        Err(error) => {
            // The file could not be read: log lines are as the flags ask.
            let started =
                process::start_logging(format.unwrap_or(LogFormat::Text), filter.as_deref().unwrap_or("info"));
            return refuse(started.is_ok(), &error.to_string());
        }
    };
    let format = settings.log_format.unwrap_or(LogFormat::Text);
    let filter = settings.log_level.clone().unwrap_or_else(|| "info".to_owned());
    if let Err(message) = process::start_logging(format, &filter) {
        return refuse(false, &message);
    }
    let config: Config = match Config::check(settings) {
        Ok(config) => config,
        Err(error) => return refuse(true, &error.to_string()),
    };
    if check_only {
        if let Err(refusal) = node::run::check(&config) {
            return node::run::ended(refusal.blame(), &refusal);
        }
        tracing::info!("configuration ok");
        return ExitCode::SUCCESS;
    }
    node::run::run(&config)
}

fn settings(file: Option<&Path>, flags: Settings) -> Result<Settings, ConfigError> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    check_environment(names)?;
    match file {
        Some(path) => Ok(flags.or(Settings::from_file(path)?)),
        None => Ok(flags),
    }
}

fn refuse(logs: bool, message: &str) -> ExitCode {
    if logs {
        tracing::error!("{message}");
    } else {
        eprintln!("sealkv: {message}");
    }
    Blame::Config.into()
}
