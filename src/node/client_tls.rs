//! TLS for clients: where it listens, and with which certificates.

use std::net::SocketAddr;

use crate::node::settings::ConfigError;
use crate::node::settings::Settings;
use crate::node::words::TlsAuthClients;
use crate::tls::ClientTlsFiles;

/// Where clients with TLS connect, and what they are shown.
#[derive(Clone, Debug)]
pub struct ClientTlsConfig {
    /// Where.
    pub listen: SocketAddr,
    /// What, and what they show.
    pub files: ClientTlsFiles,
}

impl ClientTlsConfig {
    /// `None` for a node without it.
    ///
    /// # Errors
    /// [`ConfigError`], naming the setting and what was expected.
    pub(crate) fn check(settings: &Settings) -> Result<Option<ClientTlsConfig>, ConfigError> {
        let Some(listen) = settings.tls_listen else {
            return none_of(settings).map(|()| None);
        };
        let needs = |name, expected| ConfigError::Needed { name, of: "tls-listen", expected };
        let certificate = settings.tls_cert.clone().ok_or(needs("tls-cert", "the certificate of this node, PEM"))?;
        let key = settings.tls_key.clone().ok_or(needs("tls-key", "the key of its certificate, PEM"))?;
        let ca = settings.tls_ca.clone();
        // Who names a CA wants to see certificates.
        let default = if ca.is_some() { TlsAuthClients::Yes } else { TlsAuthClients::No };
        let auth = settings.tls_auth_clients.unwrap_or(default);
        let files = match (auth, ca) {
            (TlsAuthClients::No, _) => ClientTlsFiles { certificate, key, ca: None, is_optional: true },
            (_, None) => {
                let expected = "the certificate of who signs those of clients, PEM";
                return Err(ConfigError::Needed { name: "tls-ca", of: "tls-auth-clients", expected });
            }
            (auth, ca) => ClientTlsFiles { certificate, key, ca, is_optional: auth == TlsAuthClients::Optional },
        };
        let shows_who = settings.requirepass_file.is_some() || auth == TlsAuthClients::Yes;
        if !(listen.ip().is_loopback() || shows_who || settings.insecure_listen.unwrap_or(false)) {
            return Err(ConfigError::Range {
                name: "tls-listen",
                found: listen.to_string(),
                expected: "a loopback address, or clients that show who they are (--requirepass-file, or --tls-ca with \
                           --tls-auth-clients yes), or --insecure-listen: whoever reaches it reads and writes everything"
                    .to_owned(),
            });
        }
        Ok(Some(ClientTlsConfig { listen, files }))
    }
}

/// The settings that mean nothing without it.
fn none_of(settings: &Settings) -> Result<(), ConfigError> {
    let given = [
        ("tls-cert", settings.tls_cert.is_some()),
        ("tls-key", settings.tls_key.is_some()),
        ("tls-ca", settings.tls_ca.is_some()),
        ("tls-auth-clients", settings.tls_auth_clients.is_some()),
    ];
    ConfigError::without("tls-listen", "HOST:PORT for clients with TLS", &given)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(listen: &str) -> Settings {
        Settings {
            tls_listen: Some(listen.parse().unwrap()),
            tls_cert: Some("/c".into()),
            tls_key: Some("/k".into()),
            ..Settings::default()
        }
    }

    fn refused(settings: Settings) -> String {
        ClientTlsConfig::check(&settings).unwrap_err().to_string()
    }

    #[test]
    fn an_open_address_needs_clients_that_show_who_they_are() {
        let open = || settings("0.0.0.0:6380");
        assert!(ClientTlsConfig::check(&settings("127.0.0.1:6380")).unwrap().is_some());
        assert!(refused(open()).contains("--requirepass-file"));
        let ca = || Some("/ca".into());
        assert!(
            refused(Settings { tls_ca: ca(), tls_auth_clients: Some(TlsAuthClients::Optional), ..open() })
                .contains("who")
        );
        for shown in [
            Settings { requirepass_file: Some("/p".into()), ..open() },
            Settings { tls_ca: ca(), ..open() },
            Settings { insecure_listen: Some(true), ..open() },
        ] {
            assert!(ClientTlsConfig::check(&shown).unwrap().is_some());
        }
    }

    #[test]
    fn settings_that_belong_together_are_asked_for_by_name() {
        let of = |settings| ClientTlsConfig::check(&settings).unwrap().unwrap().files;
        let local = || settings("127.0.0.1:6380");
        assert!(refused(Settings { tls_cert: None, ..local() }).contains("tls-cert is missing"));
        assert!(refused(Settings { tls_key: None, ..local() }).contains("tls-key is missing"));
        assert!(refused(Settings { tls_listen: None, ..local() }).contains("tls-listen is missing"));
        let asks = Settings { tls_auth_clients: Some(TlsAuthClients::Yes), ..local() };
        assert!(refused(asks.clone()).contains("tls-ca is missing"));
        let asks = of(Settings { tls_ca: Some("/ca".into()), ..asks });
        assert_eq!((asks.ca, asks.is_optional), (Some("/ca".into()), false));
        let none = of(Settings { tls_ca: Some("/ca".into()), tls_auth_clients: Some(TlsAuthClients::No), ..local() });
        assert_eq!(none.ca, None);
        assert!(ClientTlsConfig::check(&Settings::default()).unwrap().is_none());
    }
}
