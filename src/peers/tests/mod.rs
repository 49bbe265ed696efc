//! Connections of nodes on loopback.

mod kit;
mod plain;
mod tls;
