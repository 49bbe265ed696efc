//! Commands that were received, and their arguments: places in the bytes that arrived.

use bytes::Bytes;

/// An argument's place in the bytes of its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) len: u32,
}

/// Commands that were complete in the receive buffer, in order. Reused from read to read.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(super) frame: Bytes,
    pub(super) spans: Vec<Span>,
    pub(super) commands: Vec<CommandSpans>,
}

#[derive(Debug)]
pub(super) struct CommandSpans {
    pub(super) first_span: usize,
    /// It was dropped: it has no arguments.
    pub(super) oversize: Option<Oversize>,
    /// The words of an inline command, which are not in the frame since quotes are taken off them.
    pub(super) words: Option<Bytes>,
}

impl Received {
    /// Number of commands.
    pub(crate) fn len(&self) -> usize {
        self.commands.len()
    }

    /// Bytes that these commands hold: of the receive buffer, and beside it.
    pub(crate) fn held_bytes(&self) -> usize {
        self.frame.len()
            + self.spans.capacity() * size_of::<Span>()
            + self.commands.capacity() * size_of::<CommandSpans>()
    }

    /// The arguments of a command, its name first; empty only if it was dropped.
    ///
    /// # Panics
    /// If there are not that many commands.
    pub(crate) fn command(&self, position: usize) -> Arguments<'_> {
        let command = &self.commands[position];
        let end = self.commands.get(position + 1).map_or(self.spans.len(), |next| next.first_span);
        Arguments { bytes: command.words.as_ref().unwrap_or(&self.frame), spans: &self.spans[command.first_span..end] }
    }

    /// What a command had too much of, and was dropped for.
    ///
    /// # Panics
    /// If there are not that many commands.
    pub(crate) fn oversize(&self, position: usize) -> Option<Oversize> {
        self.commands[position].oversize
    }

    /// Forgets the commands and lets go of their bytes.
    pub(crate) fn clear(&mut self) {
        self.frame = Bytes::new();
        self.spans.clear();
        self.commands.clear();
    }

    /// Lets go of memory that a waiting connection does not need.
    pub(crate) fn rest(&mut self) {
        self.clear();
        self.spans.shrink_to(KEPT);
        self.commands.shrink_to(KEPT);
    }
}

/// One command as it arrived: its name and what follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arguments<'a> {
    bytes: &'a Bytes,
    spans: &'a [Span],
}

impl<'a> Arguments<'a> {
    /// Number of arguments, the name included.
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// An argument to look at.
    ///
    /// # Panics
    /// If there are not that many.
    pub(crate) fn slice(&self, position: usize) -> &'a [u8] {
        let range = self.range(position);
        &self.bytes[range]
    }

    /// An argument to keep: shares the receive buffer.
    ///
    /// # Panics
    /// If there are not that many.
    pub(crate) fn shared(&self, position: usize) -> Bytes {
        self.bytes.slice(self.range(position))
    }

    /// All arguments from a position on.
    pub(crate) fn slices_from(&self, first: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let arguments = *self;
        (first..arguments.len()).map(move |position| arguments.slice(position))
    }

    /// The arguments from a position on, as a command of their own.
    ///
    /// # Panics
    /// If there are not that many.
    pub(crate) fn behind(&self, first: usize) -> Arguments<'a> {
        Arguments { bytes: self.bytes, spans: &self.spans[first..] }
    }

    /// A copy that shares nothing with the receive buffer.
    pub(crate) fn kept(&self) -> KeptArguments {
        let mut bytes = Vec::with_capacity(self.slices_from(0).map(<[u8]>::len).sum());
        let spans = self.slices_from(0).map(|argument| {
            let start = bytes.len();
            bytes.extend_from_slice(argument);
            span(start, argument.len())
        });
        let spans = spans.collect();
        KeptArguments { bytes: Bytes::from(bytes), spans }
    }

    /// Bytes that such a copy takes.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.slices_from(0).map(|argument| argument.len() + size_of::<Span>()).sum()
    }

    fn range(&self, position: usize) -> std::ops::Range<usize> {
        let span = self.spans[position];
        span.start as usize..span.start as usize + span.len as usize
    }
}

/// Arguments that outlive their receive buffer, in a buffer of just their size.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeptArguments {
    bytes: Bytes,
    spans: Vec<Span>,
}

impl KeptArguments {
    /// The arguments.
    pub(crate) fn arguments(&self) -> Arguments<'_> {
        Arguments { bytes: &self.bytes, spans: &self.spans }
    }
}

/// What a command has too much of. It is read to its end and dropped, so that the stream keeps its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Oversize {
    /// More than [`ARGUMENTS_MAX`](crate::limits::ARGUMENTS_MAX) arguments.
    Arguments,
    /// More than [`QUERY_BYTES_MAX`](crate::limits::QUERY_BYTES_MAX) bytes.
    Bytes,
    /// More than the memory of all clients had left for a while.
    Memory,
}

/// A place.
pub(super) fn span(start: usize, len: usize) -> Span {
    Span {
        start: u32::try_from(start).expect("the receive buffer is far below 4 GiB"),
        len: u32::try_from(len).expect("the receive buffer is far below 4 GiB"),
    }
}

/// Places for commands and arguments that are kept between reads.
const KEPT: usize = 64;
