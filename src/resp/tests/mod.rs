//! The room over real sockets, on a gateway that applies to a store in memory through the state machine's own code.

mod bounds;
mod double;
mod order;
mod replace;
mod scan;
mod sealkv;
mod tools;
mod transactions;
mod words;
