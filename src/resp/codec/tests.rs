//! The codec refuses what Redis refuses, in its words, and what it accepts does not depend on how the input is split.

use bytes::BytesMut;
use proptest::prelude::*;

use crate::fsm::command::Reply;
use crate::limits::ARGUMENTS_MAX;
use crate::limits::LINE_BYTES_MAX;
use crate::resp::codec::arguments::Received;
use crate::resp::codec::inline::split_words;
use crate::resp::codec::reply::Encoder;
use crate::resp::codec::reply::Protocol;
use crate::resp::codec::request::Parser;
use crate::resp::codec::request::ProtocolError;
use crate::resp::codec::request::Sender;
use crate::resp::codec::request::parse_integer;

type Form<'a> = &'a dyn Fn(&mut Encoder<'_>);
type Commands = Vec<Vec<Vec<u8>>>;

/// Feeds `input` in pieces of the given lengths (the rest at once) and gathers commands until the end or an error.
fn parse_pieces(input: &[u8], pieces: &[usize], sender: Sender) -> (Commands, Option<ProtocolError>) {
    let mut parser = Parser::default();
    let mut batch = Received::default();
    let mut inbox = BytesMut::new();
    let mut commands = Vec::new();
    let mut rest = input;
    let mut pieces = pieces.iter();
    loop {
        let take = pieces.next().copied().unwrap_or(rest.len()).min(rest.len());
        inbox.extend_from_slice(&rest[..take]);
        rest = &rest[take..];
        loop {
            let result = parser.parse(&mut inbox, sender, &mut batch);
            for position in 0..batch.len() {
                if let Some(oversize) = batch.oversize(position) {
                    commands.push(vec![format!("{oversize:?}").into_bytes()]);
                    continue;
                }
                let arguments = batch.command(position);
                assert!(arguments.len() > 0, "a command has a name");
                commands.push(arguments.slices_from(0).map(<[u8]>::to_vec).collect());
            }
            if let Err(error) = result {
                return (commands, Some(error));
            }
            if !parser.may_have_more(&inbox) {
                break;
            }
        }
        if rest.is_empty() {
            return (commands, None);
        }
    }
}

fn parse(input: &[u8]) -> (Commands, Option<ProtocolError>) {
    parse_pieces(input, &[], Sender::Authenticated)
}

fn words(command: &[&str]) -> Vec<Vec<u8>> {
    command.iter().map(|word| word.as_bytes().to_vec()).collect()
}

#[test]
fn arrays_and_inline_lines_mix_in_one_stream() {
    let (commands, error) = parse(b"PING\r\n*2\r\n$4\r\nECHO\r\n$3\r\na\r\n\r\n\r\n*0\r\n*-1\r\nSET k \"a b\"\n");
    assert_eq!(commands, [words(&["PING"]), words(&["ECHO", "a\r\n"]), words(&["SET", "k", "a b"])]);
    assert_eq!(error, None);
}

#[test]
fn refusals_are_in_the_words_of_redis() {
    let cases: [(&[u8], &str); 11] = [
        (b"*x\r\n", "Protocol error: invalid multibulk length"),
        (b"*99999999999\r\n", "Protocol error: invalid multibulk length"),
        (b"*2147483648\r\n", "Protocol error: invalid multibulk length"),
        (b"*+1\r\n", "Protocol error: invalid multibulk length"),
        (b"*1\r\nPING\r\n", "Protocol error: expected '$', got 'P'"),
        (b"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$1073741824\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$ab\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$\r\n", "Protocol error: invalid bulk length"),
        (b"GET \"a\r\n", "Protocol error: unbalanced quotes in request"),
        (b"GET \"a\"b\r\n", "Protocol error: unbalanced quotes in request"),
    ];
    for (input, expected) in cases {
        let (commands, error) = parse(input);
        assert_eq!(commands, Commands::new());
        assert_eq!(error.unwrap().to_string(), expected, "{:?}", String::from_utf8_lossy(input));
    }
    let long = vec![b'a'; LINE_BYTES_MAX + 1];
    assert_eq!(parse(&long).1.unwrap().to_string(), "Protocol error: too big inline request");
    let long = [b"*", &long[..]].concat();
    assert_eq!(parse(&long).1.unwrap().to_string(), "Protocol error: too big mbulk count string");
    let long = [b"*1\r\n$", &long[1..]].concat();
    assert_eq!(parse(&long).1.unwrap().to_string(), "Protocol error: too big bulk count string");
}

#[test]
fn a_client_that_has_not_authenticated_has_small_bounds() {
    let refused = |input: &[u8]| parse_pieces(input, &[], Sender::Unauthenticated).1.map(|error| error.to_string());
    assert_eq!(refused(b"*11\r\n").unwrap(), "Protocol error: unauthenticated multibulk length");
    assert_eq!(refused(b"*1\r\n$16385\r\n").unwrap(), "Protocol error: unauthenticated bulk length");
    assert_eq!(refused(b"*10\r\n$16384\r\n"), None);
}

#[test]
fn commands_before_a_protocol_error_are_run() {
    let (commands, error) = parse(b"*1\r\n$4\r\nPING\r\n*1\r\n!");
    assert_eq!(commands, [words(&["PING"])]);
    assert_eq!(error, Some(ProtocolError::ExpectedBulk { got: b'!' }));
}

#[test]
fn a_command_above_its_bounds_is_dropped_as_it_arrives_and_the_stream_keeps_its_frame() {
    // Three of the largest arguments are above the bound.
    let mut long = b"*4\r\n".to_vec();
    for byte in [b'x', b'$', b'\n', b'*'] {
        long.extend_from_slice(b"$16777216\r\n");
        long.resize(long.len() + (16 << 20), byte);
        long.extend_from_slice(b"\r\n");
    }
    let many = format!("*{}\r\n{}", ARGUMENTS_MAX + 1, "$1\r\na\r\n".repeat(ARGUMENTS_MAX + 1)).into_bytes();
    let input = [b"*1\r\n$4\r\nPING\r\n", &long[..], &many, b"ECHO hi\r\n"].concat();
    let expected = [words(&["PING"]), words(&["Bytes"]), words(&["Arguments"]), words(&["ECHO", "hi"])];
    for piece in [usize::MAX, 1 << 20, 65_537, 4099] {
        let pieces = vec![piece; input.len() / piece.min(input.len()) + 1];
        let (commands, error) = parse_pieces(&input, &pieces, Sender::Authenticated);
        assert_eq!(commands.len(), expected.len(), "{piece}");
        assert!(commands == expected, "{piece}");
        assert_eq!(error, None);
    }
}

#[test]
fn what_is_dropped_is_not_kept() {
    let mut parser = Parser::default();
    let (mut batch, mut inbox) = (Received::default(), BytesMut::new());
    inbox.extend_from_slice(b"*2147483647\r\n$16777216\r\n");
    for _ in 0..16 {
        inbox.extend_from_slice(&vec![b'x'; 1 << 20]);
        parser.parse(&mut inbox, Sender::Authenticated, &mut batch).unwrap();
        assert!(inbox.len() < 2, "{}", inbox.len());
        assert_eq!(batch.len(), 0);
    }
}

#[test]
fn integers_are_those_of_redis() {
    for (text, expected) in [
        ("0", Some(0)),
        ("-1", Some(-1)),
        ("9223372036854775807", Some(i64::MAX)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("9223372036854775808", None),
        ("-9223372036854775809", None),
        ("99999999999999999999", None),
        ("-0", None),
        ("+1", None),
        ("01", None),
        (" 1", None),
        ("1 ", None),
        ("", None),
        ("-", None),
    ] {
        assert_eq!(parse_integer(text.as_bytes()), expected, "{text:?}");
    }
}

#[test]
fn quoted_words_are_split_as_redis_splits_them() {
    let split = |line: &[u8]| {
        let (bytes, ends) = split_words(line).unwrap();
        let mut start = 0;
        let words = ends.into_iter().map(|end| {
            let word = bytes[start..end].to_vec();
            start = end;
            word
        });
        words.collect::<Vec<_>>()
    };
    assert_eq!(split(b"  a\tb  "), [b"a".to_vec(), b"b".to_vec()]);
    assert_eq!(split(br#""\x41\n\t\q" 'it\'s \n'"#), [b"A\n\tq".to_vec(), br"it's \n".to_vec()]);
    assert_eq!(split(br#"a"b c""#), [b"ab c".to_vec()]);
    assert_eq!(split(b"\"\" x"), [b"".to_vec(), b"x".to_vec()]);
    assert_eq!(split(b"a\0b"), [b"a".to_vec()]);
    for line in [&b"\"a"[..], b"'a", b"\"a\\\"", b"'a'b"] {
        assert!(split_words(line).is_err());
    }
}

#[test]
fn golden_replies_of_both_protocols() {
    let encoded = |protocol, write: &dyn Fn(&mut Encoder<'_>)| {
        let mut out = Vec::new();
        write(&mut Encoder::new(&mut out, protocol));
        String::from_utf8(out).unwrap()
    };
    let array = Reply::Array(vec![Reply::Bulk("a".into()), Reply::Null, Reply::Integer(-5), Reply::Ok]);
    let both: [(Form<'_>, &str, &str); 8] = [
        (&|e| e.reply(&array), "*4\r\n$1\r\na\r\n$-1\r\n:-5\r\n+OK\r\n", "*4\r\n$1\r\na\r\n_\r\n:-5\r\n+OK\r\n"),
        (&|e| e.map(2), "*4\r\n", "%2\r\n"),
        (&|e| e.set(2), "*2\r\n", "~2\r\n"),
        (&|e| e.text("ab"), "$2\r\nab\r\n", "=6\r\ntxt:ab\r\n"),
        (&|e| e.null_array(), "*-1\r\n", "_\r\n"),
        (&|e| e.error("ERR a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n"),
        (&|e| e.bulk(b""), "$0\r\n\r\n", "$0\r\n\r\n"),
        (&|e| e.reply(&Reply::Simple("none")), "+none\r\n", "+none\r\n"),
    ];
    for (write, second, third) in both {
        assert_eq!(encoded(Protocol::Resp2, write), second);
        assert_eq!(encoded(Protocol::Resp3, write), third);
    }
}

fn stream_of_commands() -> impl Strategy<Value = Vec<u8>> {
    let argument = proptest::collection::vec(any::<u8>(), 0..20);
    let array = proptest::collection::vec(argument, 0..5).prop_map(|arguments| {
        let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments {
            bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            bytes.extend_from_slice(&argument);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    });
    let inline = "[a-z \"'\\\\]{0,12}\r?\n".prop_map(String::into_bytes);
    let piece = prop_oneof![4 => array, 2 => inline, 1 => proptest::collection::vec(any::<u8>(), 0..6)];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_the_input_gives_the_same_commands(
        input in stream_of_commands(),
        pieces in proptest::collection::vec(1_usize..12, 0..60),
    ) {
        let whole = parse(&input);
        prop_assert_eq!(&parse_pieces(&input, &pieces, Sender::Authenticated), &whole);
        let bytewise = vec![1; input.len()];
        prop_assert_eq!(&parse_pieces(&input, &bytewise, Sender::Authenticated), &whole);
    }

    #[test]
    fn garbage_never_panics(
        input in proptest::collection::vec(prop_oneof![
            Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b'1'), Just(b'2'), Just(b'-'), any::<u8>()
        ], 0..200),
        pieces in proptest::collection::vec(1_usize..12, 0..60),
    ) {
        parse_pieces(&input, &pieces, Sender::Unauthenticated);
        parse_pieces(&input, &pieces, Sender::Authenticated);
    }
}
