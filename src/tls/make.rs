//! Makes a CA and what it signs, for trying out and for small deployments. Others bring certificates of their own.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;
use rcgen::SanType;
use zeroize::Zeroizing;

use crate::ids::ClusterId;
use crate::ids::NodeId;
use crate::tls::files::FileRole;
use crate::tls::files::TlsRefused;
use crate::tls::files::read;
use crate::tls::name::node_name;

/// When a certificate is good: from one moment to another, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From here on.
    pub from: u64,
    /// Until here.
    pub until: u64,
}

impl Validity {
    /// So many days from now on, and a little before: clocks differ.
    #[must_use]
    pub fn days(now: u64, days: u32) -> Validity {
        Validity { from: now.saturating_sub(CLOCKS_DIFFER), until: now + u64::from(days) * DAY }
    }
}

/// A certificate and its key, in PEM.
pub struct Issued {
    /// May be shown to everybody.
    pub certificate: String,
    /// For its holder only.
    pub key: Zeroizing<String>,
}

debug_fields!(self: Issued {});

/// A host or a client cannot be named so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} cannot stand in a certificate: expected a host name, an address, or letters, digits and hyphens")]
pub struct WrongName {
    /// As it was given.
    pub name: String,
}

/// The CA of one cluster.
pub struct Authority {
    cluster: ClusterId,
    issuer: Issuer<'static, KeyPair>,
}

debug_fields!(self: Authority { cluster: self.cluster });

impl Authority {
    /// A new one, with its certificate.
    #[must_use]
    pub fn new(cluster: ClusterId, validity: Validity) -> (Authority, Issued) {
        let key = new_key();
        let params = of_authority(cluster, Some(validity));
        let certificate = params.self_signed(&key).expect("parameters of our own can be signed");
        let issued = issued(&certificate, &key);
        (Authority { cluster, issuer: Issuer::new(params, key) }, issued)
    }

    /// The one whose key is in `path`: one that [`Authority::new`] made for this cluster.
    ///
    /// # Errors
    /// [`TlsRefused`].
    pub fn read(cluster: ClusterId, path: &Path) -> Result<Authority, TlsRefused> {
        let bytes = read(FileRole::Key, path)?;
        let key = String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string()).map(Zeroizing::new);
        let key = key.and_then(|text| KeyPair::from_pem(&text).map_err(|error| error.to_string()));
        let key = key.map_err(|why| TlsRefused::Content { what: FileRole::Key, path: path.to_owned(), why })?;
        Ok(Authority { cluster, issuer: Issuer::new(of_authority(cluster, None), key) })
    }

    /// A certificate of a node, for both sides of a connection. `hosts` are names and addresses that clients verify.
    ///
    /// # Errors
    /// [`WrongName`]: of a host.
    pub fn node(&self, node: NodeId, hosts: &[String], validity: Validity) -> Result<Issued, WrongName> {
        let own = node_name(self.cluster, node);
        let names = hosts.iter().map(|host| san(host)).collect::<Result<Vec<_>, _>>()?;
        let names = std::iter::once(san(&own)?).chain(names).collect();
        let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Ok(self.sign(&own, names, &both, validity))
    }

    /// A certificate of a client.
    ///
    /// # Errors
    /// [`WrongName`].
    pub fn client(&self, name: &str, validity: Validity) -> Result<Issued, WrongName> {
        let is_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || name.len() > LABEL_BYTES_MAX || !name.bytes().all(is_label) {
            return Err(WrongName { name: name.to_owned() });
        }
        let own = format!("client-{name}.{}.sealkv", self.cluster);
        Ok(self.sign(&own, vec![san(&own)?], &[ExtendedKeyUsagePurpose::ClientAuth], validity))
    }

    fn sign(
        &self,
        subject: &str,
        names: Vec<SanType>,
        usages: &[ExtendedKeyUsagePurpose],
        validity: Validity,
    ) -> Issued {
        let mut params = params(subject, Some(validity));
        params.subject_alt_names = names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages.to_vec();
        params.use_authority_key_identifier_extension = true;
        let key = new_key();
        let certificate = params.signed_by(&key, &self.issuer).expect("parameters of our own can be signed");
        issued(&certificate, &key)
    }
}

/// The parameters of a cluster's CA: the same each time, so that its key is all that is needed to sign.
fn of_authority(cluster: ClusterId, validity: Option<Validity>) -> CertificateParams {
    let mut params = params(&format!("sealkv ca {cluster}"), validity);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn params(subject: &str, validity: Option<Validity>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    if let Some(validity) = validity {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_secs(validity.from);
        params.not_after = epoch + Duration::from_secs(validity.until);
    }
    params
}

/// An address as an address, everything else as a host name.
fn san(name: &str) -> Result<SanType, WrongName> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let wrong = || WrongName { name: name.to_owned() };
    let is_host = rustls::pki_types::DnsName::try_from(name).is_ok();
    let text = name.try_into().map_err(|_| wrong())?;
    if is_host { Ok(SanType::DnsName(text)) } else { Err(wrong()) }
}

/// P-256: every client knows it.
fn new_key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("the kernel gives randomness")
}

fn issued(certificate: &rcgen::Certificate, key: &KeyPair) -> Issued {
    Issued { certificate: certificate.pem(), key: Zeroizing::new(key.serialize_pem()) }
}

const DAY: u64 = 24 * 3600;
/// By how much a certificate is good before it was made.
const CLOCKS_DIFFER: u64 = 3600;
/// Letters of a client's name: with `client-` it is one label of DNS.
const LABEL_BYTES_MAX: usize = 56;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_a_client_is_a_label() {
        let (authority, _) = Authority::new(ClusterId([1; 16]), Validity::days(1_800_000_000, 1));
        let validity = Validity::days(1_800_000_000, 1);
        let node = NodeId::new(1).unwrap();
        let good = ["db1.example", "10.0.0.1", "::1", "localhost"].map(str::to_owned);
        assert!(authority.node(node, &good, validity).unwrap().certificate.starts_with("-----BEGIN CERTIFICATE-----"));
        for bad in ["", "a b", "ö.example", "db1.example:7379", "-x"] {
            assert!(authority.node(node, &[bad.to_owned()], validity).is_err(), "{bad}");
        }
        assert!(authority.client("worker-7", validity).is_ok());
        for bad in ["", "a.b", &"x".repeat(57)] {
            assert!(authority.client(bad, validity).is_err(), "{bad}");
        }
    }
}
