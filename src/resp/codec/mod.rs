//! The bytes of the Redis protocol: requests in (`request`, `inline`), replies out (`reply`). No sockets, no meaning.

pub(crate) mod arguments;
mod inline;
pub(crate) mod reply;
pub(crate) mod request;

#[cfg(test)]
mod tests;
