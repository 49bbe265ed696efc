//! Certificates: files of them, what they say, and how two sides of a connection know each other by them.
//!
//! TLS 1.3 only, by rustls with ring: the clients of Redis speak it since OpenSSL 1.1.1, of 2018. Nothing here opens a socket.
//!
//! **Names.** A node's certificate names `node-<id>.<cluster id>.sealkv` as a DNS name of its subject alternative names. Only
//! the holder of such a certificate is that node, whoever else the same CA signed: a client's certificate never is. Nobody
//! resolves these names. They may stand beside host names that clients verify.

mod clients;
mod files;
mod make;
mod name;
mod operator;
mod peer;
mod words;

pub use clients::ClientTls;
pub use clients::ClientTlsFiles;
pub use files::TlsFiles;
pub use files::TlsRefused;
pub use make::Authority;
pub use make::Issued;
pub use make::Validity;
pub use make::WrongName;
pub use name::node_name;
pub use operator::OperatorTls;
pub use operator::Secured;
pub use peer::PeerTls;
pub use words::words;
pub use words::words_of_io;
