//! Tests of the room over real sockets.
