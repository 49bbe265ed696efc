//! The passwords of clients and of operators: each the first line of a file.

use std::io::Read as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::keys::file;
use crate::keys::file::FileKind;
use crate::limits::PASSWORD_FILE_BYTES_MAX;
use crate::node::config::Config;
use crate::node::refusal::Refusal;
use crate::resp::Password;

/// The passwords that the settings name.
pub(crate) struct Passwords {
    pub(crate) clients: Option<Password>,
    pub(crate) operators: Option<Password>,
}

/// Reads the files that the settings name.
///
/// # Errors
/// [`Refusal::Password`].
pub(crate) fn read(config: &Config) -> Result<Passwords, Refusal> {
    let read = |setting, path: &Path| {
        first_line(path).map_err(|why| Refusal::Password { setting, path: path.to_owned(), why })
    };
    if config.requirepass_file.is_some() && config.adminpass_file.is_none() {
        tracing::warn!(
            "SEALKV, CONFIG SET and SHUTDOWN are refused: clients have a password and operators have none (--adminpass-file FILE)"
        );
    }
    let clients = config.requirepass_file.as_deref().map(|path| read("requirepass-file", path)).transpose()?;
    let operators = config.adminpass_file.as_deref().map(|path| read("adminpass-file", path)).transpose()?;
    if let (Some(all), Some(few), Some(path)) = (&clients, &operators, &config.adminpass_file)
        && all.is_same(few)
    {
        let why = "it has the password of requirepass-file, expected one that clients do not know".to_owned();
        return Err(Refusal::Password { setting: "adminpass-file", path: path.clone(), why });
    }
    Ok(Passwords { clients, operators })
}

fn first_line(path: &Path) -> Result<Password, String> {
    let opened = file::open(path).map_err(|error| error.to_string())?;
    if opened.kind != FileKind::Regular {
        return Err(format!("is {}, expected a regular file", opened.kind));
    }
    opened.check_secret().map_err(|error| error.to_string())?;
    let file = opened.file;
    let mut bytes = Zeroizing::new(Vec::with_capacity(PASSWORD_FILE_BYTES_MAX + 1));
    file.take(PASSWORD_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() || bytes.len() > PASSWORD_FILE_BYTES_MAX {
        return Err(format!("expected one line of 1 to {PASSWORD_FILE_BYTES_MAX} bytes"));
    }
    Ok(Password::new(&Zeroizing::new(line.to_vec())))
}
