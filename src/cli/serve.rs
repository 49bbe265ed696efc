//! `sealkv serve`: settings in, a running node, an exit status out.

use std::path::Path;
use std::process::ExitCode;

use crate::cli;
use crate::exit::Blame;
use crate::node;
use crate::node::config::Config;
use crate::node::log_lines;
use crate::node::process;
use crate::node::settings::ConfigError;
use crate::node::settings::LogFormat;
use crate::node::settings::Settings;
use crate::node::settings::check_environment;

/// Runs a node until a signal or a fatal error ends it; with `check_only`, only checks the settings.
pub fn run(file: Option<&Path>, check_only: bool, flags: Settings) -> ExitCode {
    let (format, filter) = (flags.log_format, flags.log_level.clone());
    let settings = settings(file, flags);
    // If the file could not be read, log lines are as the flags ask.
    let format = settings.as_ref().map_or(format, |(settings, _)| settings.log_format).unwrap_or(LogFormat::Text);
    let filter = settings.as_ref().map_or(filter, |(settings, _)| settings.log_level.clone()).unwrap_or_default();
    if let Err(message) = process::start_logging(format, &filter) {
        cli::say(&format!("sealkv: {message}"));
        return Blame::Config.into();
    }
    let checked = settings.and_then(|(settings, ignored)| {
        if !ignored.is_empty() {
            tracing::info!(variables = ignored.join(" "), "variables of an orchestrator's service are ignored");
        }
        Config::check(settings)
    });
    let config = match checked {
        Ok(config) => config,
        Err(error) => return node::run::ended(Blame::Config, &error, None),
    };
    if !check_only {
        return node::run::run(&config);
    }
    match node::run::check(&config) {
        Ok(()) => {
            log_lines::last(|| tracing::info!("configuration ok"));
            ExitCode::SUCCESS
        }
        Err(refusal) => node::run::ended(refusal.blame(), &refusal, refusal.remedy()),
    }
}

/// The settings, and the variables that were passed over.
fn settings(file: Option<&Path>, flags: Settings) -> Result<(Settings, Vec<String>), ConfigError> {
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())));
    let ignored = check_environment(variables)?;
    match file {
        Some(path) => Ok((flags.or(Settings::from_file(path)?), ignored)),
        None => Ok((flags, ignored)),
    }
}
