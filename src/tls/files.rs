//! Files with certificates and keys, in PEM.

use std::fmt;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::keys::file::OpenToOthers;
use crate::keys::file::open;
use crate::keys::file::read_at_most;
use crate::limits::TLS_FILE_BYTES_MAX;

/// Where a side's certificate, its key and the CA of the other sides are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those between it and the CA.
    pub certificate: PathBuf,
    /// Its key: PKCS #8, PKCS #1 or SEC 1. Only its owner may reach it.
    pub key: PathBuf,
    /// Certificates of the CAs that sign the other sides.
    pub ca: PathBuf,
}

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsRefused {
    /// Operator: the file cannot be read.
    #[error("{what} {} cannot be read", path.display())]
    Read {
        /// What it is for.
        what: FileRole,
        /// Which.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// Operator: others can read the key.
    #[error("{what} {} {why}", path.display())]
    OpenToOthers {
        /// What it is for.
        what: FileRole,
        /// Which.
        path: PathBuf,
        /// Its mode.
        why: OpenToOthers,
    },
    /// Operator: another file.
    #[error("{what} {} holds no {what} in PEM that can be used: {why}", path.display())]
    Content {
        /// What it is for.
        what: FileRole,
        /// Which.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// Operator: the certificate is not one with which this node could connect.
    #[error("certificate {} cannot be used: {why}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileRole {
    /// A certificate and its chain.
    Certificate,
    /// A private key.
    Key,
    /// Certificates of CAs.
    Ca,
}

impl fmt::Display for FileRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileRole::Certificate => "certificate",
            FileRole::Key => "private key",
            FileRole::Ca => "CA certificate",
        })
    }
}

/// What the files hold.
pub(super) struct Loaded {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) roots: Arc<RootCertStore>,
}

impl Loaded {
    /// Reads them.
    ///
    /// # Errors
    /// [`TlsRefused`].
    pub(super) fn read(files: &TlsFiles) -> Result<Loaded, TlsRefused> {
        Ok(Loaded {
            chain: read_certificates(FileRole::Certificate, &files.certificate)?,
            key: read_key(&files.key)?,
            roots: Arc::new(read_roots(&files.ca)?),
        })
    }
}

/// The CAs of a file.
pub(super) fn read_roots(path: &Path) -> Result<RootCertStore, TlsRefused> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(FileRole::Ca, path)? {
        roots.add(certificate).map_err(|error| content(FileRole::Ca, path, &error))?;
    }
    Ok(roots)
}

pub(super) fn read_certificates(what: FileRole, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsRefused> {
    let bytes = read(what, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|error| content(what, path, &error))?;
    if certificates.is_empty() {
        return Err(content(what, path, &"there is no section CERTIFICATE"));
    }
    Ok(certificates)
}

pub(super) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsRefused> {
    let bytes = read(FileRole::Key, path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| content(FileRole::Key, path, &error))
}

/// The bytes of a file, wiped when they are dropped: it may be a key.
pub(super) fn read(what: FileRole, path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsRefused> {
    let refused = |source| TlsRefused::Read { what, path: path.to_owned(), source };
    let mut opened = open(path).map_err(refused)?;
    if what == FileRole::Key {
        let refused = |why| TlsRefused::OpenToOthers { what, path: path.to_owned(), why };
        opened.check_secret().map_err(refused)?;
    }
    let bytes = Zeroizing::new(read_at_most(&mut opened.file, TLS_FILE_BYTES_MAX).map_err(refused)?);
    if bytes.len() == TLS_FILE_BYTES_MAX {
        return Err(content(what, path, &format!("it has {TLS_FILE_BYTES_MAX} bytes or more")));
    }
    Ok(bytes)
}

fn content(what: FileRole, path: &Path, why: &dyn fmt::Display) -> TlsRefused {
    TlsRefused::Content { what, path: path.to_owned(), why: why.to_string() }
}
