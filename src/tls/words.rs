//! What went wrong with a connection, in words that say who must do what.

use std::io;

use rustls::AlertDescription;
use rustls::CertificateError;
use rustls::Error;

/// Words for a failure of the library.
#[must_use]
pub fn words(error: &Error) -> String {
    match error {
        Error::NoCertificatesPresented => "it shows no certificate".to_owned(),
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::PeerIncompatible(why) => format!("it does not speak TLS 1.3 as this node does ({why:?})"),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "it does not speak TLS".to_owned()
        }
        Error::AlertReceived(alert) => of_alert(*alert),
        error => error.to_string(),
    }
}

/// Words for an error of a stream; those of the library if it comes from there.
#[must_use]
pub fn words_of_io(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    inner.map_or_else(|| error.to_string(), words)
}

fn of_certificate(error: &CertificateError) -> String {
    let what = match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is not signed by the CA that this node knows"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "is not valid yet",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not for this side of TLS"
        }
        CertificateError::NotValidForName => "has another name",
        CertificateError::BadEncoding => "cannot be parsed",
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented: Vec<&str> = presented.iter().take(NAMES_SHOWN_MAX).map(|name| shown(name)).collect();
            return format!("its certificate is not for {}, it names {presented:?}", expected.to_str());
        }
        error => return format!("its certificate is not accepted: {error}"),
    };
    format!("its certificate {what}")
}

fn of_alert(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::CertificateRequired => "this node shows no certificate",
        AlertDescription::UnknownCA => "it does not know the CA of this node's certificate",
        AlertDescription::CertificateExpired => "this node's certificate has expired, or is not valid yet",
        AlertDescription::BadCertificate => "this node's certificate has another name",
        AlertDescription::UnsupportedCertificate => "this node's certificate is not for this side of TLS",
        AlertDescription::ProtocolVersion => "it does not speak TLS 1.3",
        alert => return format!("it ended the handshake: {alert:?}"),
    };
    format!("it ended the handshake: {why}")
}

/// As much of a stranger's name as a log line takes.
fn shown(name: &str) -> &str {
    name.char_indices().nth(NAME_SHOWN_MAX).map_or(name, |(end, _)| &name[..end])
}

/// Names of a certificate that are shown.
const NAMES_SHOWN_MAX: usize = 4;
/// Letters of each.
const NAME_SHOWN_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;

    use super::*;

    #[test]
    fn a_wrong_name_is_shown_beside_the_right_one_and_cut() {
        let expected = ServerName::try_from("node-1.x.sealkv").unwrap();
        let presented = vec!["y".repeat(200), "z".to_owned()];
        let error = Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented });
        let words = words(&error);
        assert!(words.starts_with("its certificate is not for node-1.x.sealkv, it names [\"yyy"), "{words}");
        assert!(words.len() < 160);
    }

    #[test]
    fn an_error_of_a_stream_shows_what_the_library_says() {
        let of_library = io::Error::other(Error::InvalidCertificate(CertificateError::Expired));
        assert_eq!(words_of_io(&of_library), "its certificate has expired");
        assert_eq!(words_of_io(&io::ErrorKind::ConnectionReset.into()), "connection reset");
    }
}
