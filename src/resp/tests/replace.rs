//! RENAME, COPY, MOVE, DUMP, RESTORE, bits, LCS, OBJECT, and SET and DEL with a condition, as a client sees them.

use crate::limits::VALUE_BYTES_MAX;
use crate::resp::tests::double::House;
use crate::resp::tests::double::array;

/// Each line and its reply; a reply that begins with neither sign is a bulk string.
#[track_caller]
fn play(house: &House, lines: &[(&str, &str)]) {
    let mut client = house.client();
    for (line, reply) in lines {
        let expected = match reply.chars().next() {
            Some('+' | '-' | ':' | '*' | '$') => format!("{reply}\r\n"),
            _ => format!("${}\r\n{reply}\r\n", reply.len()),
        };
        assert_eq!(client.ask(line), expected, "{line}");
    }
}

#[test]
fn keys_are_renamed_copied_and_moved_with_their_expiry() {
    let house = House::open();
    play(
        &house,
        &[
            ("RENAME a b", "-ERR no such key"),
            ("RENAMENX a b", "-ERR no such key"),
            ("SET a 1 PX 60000", "+OK"),
            ("RENAME a a", "+OK"),
            ("RENAMENX a a", ":0"),
            ("RENAME a b", "+OK"),
            ("EXISTS a", ":0"),
            ("PTTL b", ":60000"),
            ("SET c 2", "+OK"),
            ("RENAMENX b c", ":0"),
            ("RENAME b c", "+OK"),
            ("GET c", "1"),
            ("TTL c", ":60"),
            ("RENAMENX c b", ":1"),
            ("COPY none a", ":0"),
            ("COPY b b", "-ERR source and destination objects are the same"),
            ("COPY b a", ":1"),
            ("COPY b a", ":0"),
            ("SET a 7", "+OK"),
            ("COPY b a REPLACE", ":1"),
            ("TTL a", ":60"),
            ("COPY b a DB 16", "-ERR DB index is out of range"),
            ("COPY b a LEFT", "-ERR syntax error"),
            ("COPY b b DB 3", ":1"),
            ("MOVE b 3", ":0"),
            ("MOVE b 0", "-ERR source and destination objects are the same"),
            ("MOVE b 16", "-ERR DB index is out of range"),
            ("MOVE b x", "-ERR value is not an integer or out of range"),
            ("MOVE none 3", ":0"),
            ("MOVE b 4", ":1"),
            ("EXISTS b", ":0"),
            ("SELECT 4", "+OK"),
            ("TTL b", ":60"),
            ("SELECT 3", "+OK"),
            ("GET b", "1"),
            ("DBSIZE", ":1"),
        ],
    );
}

#[test]
fn a_dump_is_restored_and_what_is_cut_newer_or_busy_is_refused() {
    let house = House::open();
    let mut client = house.client();
    assert_eq!(client.ask("SET a 10"), "+OK\r\n");
    // As redis-server 7.0.15 answers it.
    client.send(b"DUMP a\r\n");
    let payload = [0x00, 0xc0, 0x0a, 0x0a, 0x00, 0x6e, 0x9f, 0x57, 0x45, 0x0e, 0xae, 0x63, 0xbb];
    let mut bytes = vec![0; 5 + payload.len() + 2];
    std::io::Read::read_exact(&mut client.stream, &mut bytes).unwrap();
    assert_eq!(bytes[5..18], payload, "{:02x?}", &bytes[5..18]);
    let mut restore = |arguments: &[&[u8]]| {
        client.send(&array(&[&[&b"RESTORE"[..]], arguments].concat()));
        client.reply()
    };
    assert_eq!(restore(&[b"a", b"0", &payload]), "-BUSYKEY Target key name already exists.\r\n");
    assert_eq!(restore(&[b"a", b"x", b"rubbish"]), "-BUSYKEY Target key name already exists.\r\n");
    assert_eq!(restore(&[b"b", b"-1", &payload]), "-ERR Invalid TTL value, must be >= 0\r\n");
    assert_eq!(restore(&[b"b", b"0", &payload[..12]]), "-ERR DUMP payload version or checksum are wrong\r\n");
    assert_eq!(
        restore(&[b"b", b"0", &payload, b"FREQ", b"256"]),
        "-ERR Invalid FREQ value, must be >= 0 and <= 255\r\n"
    );
    assert_eq!(restore(&[b"b", b"0", &payload, b"IDLETIME", b"1", b"FREQ", b"1"]), "-ERR syntax error\r\n");
    assert_eq!(restore(&[b"b", b"5000", &payload, b"IDLETIME", b"1"]), "+OK\r\n");
    assert_eq!(restore(&[b"a", b"1", &payload, b"REPLACE", b"ABSTTL"]), "+OK\r\n");
    assert_eq!(client.ask("MGET a b"), "*2\r\n$-1\r\n$2\r\n10\r\n", "the first is past due");
    assert_eq!(client.ask("PTTL b"), ":5000\r\n");
    assert_eq!(client.ask("DUMP none"), "$-1\r\n");
}

#[test]
fn bits_are_set_counted_found_and_combined_as_in_redis() {
    let house = House::open();
    play(
        &house,
        &[
            ("SETBIT b 7 1", ":0"),
            ("SETBIT b 7 0", ":1"),
            ("GETBIT b 100", ":0"),
            ("GETBIT b -1", "-ERR bit offset is not an integer or out of range"),
            ("GETBIT b 4294967295", ":0"),
            ("SETBIT b 4294967295 1", "-ERR bit offset is not an integer or out of range"),
            ("SETBIT b 0 2", "-ERR bit is not an integer or out of range"),
            ("SET s foobar", "+OK"),
            ("BITCOUNT s", ":26"),
            ("BITCOUNT s 1 1", ":6"),
            ("BITCOUNT s 5 30 BIT", ":17"),
            ("BITCOUNT s -2 -5", ":0"),
            ("BITCOUNT s 1", "-ERR syntax error"),
            ("BITCOUNT s 0 1 WORD", "-ERR syntax error"),
            ("BITCOUNT none 0 x", "-ERR value is not an integer or out of range"),
            ("BITPOS s 1", ":1"),
            ("BITPOS s 0 2", ":16"),
            ("BITPOS s 1 7 15 BIT", ":9"),
            ("BITPOS s 2", "-ERR The bit argument must be 1 or 0."),
            ("BITPOS none 0", ":0"),
            ("BITPOS none 1", ":-1"),
            ("SETRANGE ones 0 x", ":1"),
            ("BITFIELD ones SET u8 0 255", "*1\r\n:120"),
            ("BITPOS ones 0", ":8"),
            ("BITPOS ones 0 0 -1", ":-1"),
            ("SET t abcdef", "+OK"),
            ("BITOP AND d s t", ":6"),
            ("GET d", "`bc`ab"),
            ("BITOP NOT d s t", "-ERR BITOP NOT must be called with a single source key."),
            ("BITOP NAND d s t", "-ERR syntax error"),
            ("BITOP OR d none", ":0"),
            ("EXISTS d", ":0"),
            ("BITFIELD f INCRBY i5 100 1 GET u4 0", "*2\r\n:1\r\n:0"),
            ("BITFIELD f OVERFLOW FAIL INCRBY u2 102 1 OVERFLOW SAT INCRBY u2 102 7", "*2\r\n:1\r\n:3"),
            ("BITFIELD f OVERFLOW FAIL INCRBY u2 102 1", "*1\r\n$-1"),
            (
                "BITFIELD f GET u64 0",
                "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
            ),
            ("BITFIELD f SET u8 #99999999999 1", "-ERR bit offset is not an integer or out of range"),
            ("BITFIELD f OVERFLOW MAYBE", "-ERR Invalid OVERFLOW type specified"),
            ("BITFIELD_RO f SET u8 0 1", "-ERR BITFIELD_RO only supports the GET subcommand"),
            ("BITFIELD_RO f GET i5 100 GET u8 #1000", "*2\r\n:7\r\n:0"),
            ("BITFIELD f", "*0"),
        ],
    );
    let bits = 8 * VALUE_BYTES_MAX;
    play(
        &house,
        &[
            (&format!("SETBIT large {} 1", bits - 1), ":0"),
            (&format!("SETBIT large {bits} 1"), "-ERR bit offset is not an integer or out of range"),
            ("BITCOUNT large", ":1"),
            ("STRLEN large", &format!(":{VALUE_BYTES_MAX}")),
            (&format!("BITFIELD large SET u8 {} 1", bits - 7), "-ERR bit offset is not an integer or out of range"),
        ],
    );
}

#[test]
fn lcs_object_and_memory_answer_as_redis_does() {
    let house = House::open();
    play(
        &house,
        &[
            ("MSET a ohmytext b mynewtext n 12 l 012345678901234567890123456789012345678901234", "+OK"),
            ("LCS a b", "mytext"),
            ("LCS a b LEN", ":6"),
            ("LCS a none", ""),
            ("LCS a b LEN IDX", "-ERR If you want both the length and indexes, please just use IDX."),
            (
                "LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN",
                "*4\r\n$7\r\nmatches\r\n*1\r\n*3\r\n*2\r\n:4\r\n:7\r\n*2\r\n:5\r\n:8\r\n:4\r\n$3\r\nlen\r\n:6",
            ),
            ("LCS a b SOON", "-ERR syntax error"),
            ("OBJECT ENCODING a", "embstr"),
            ("OBJECT ENCODING n", "int"),
            ("OBJECT ENCODING l", "raw"),
            ("OBJECT ENCODING none", "$-1"),
            ("OBJECT REFCOUNT a", ":1"),
            ("OBJECT IDLETIME a", "-ERR sealkv does not keep when a key was last used"),
            ("OBJECT ENCODING", "-ERR wrong number of arguments for 'object|encoding' command"),
            ("OBJECT WEIGHT a", "-ERR unknown subcommand 'WEIGHT'. Try OBJECT HELP."),
            ("MEMORY USAGE a", ":82"),
            ("MEMORY USAGE a SAMPLES 0", ":82"),
            ("MEMORY USAGE none", "$-1"),
            ("SETRANGE large 5000 x", ":5001"),
            ("SETRANGE other 5000 x", ":5001"),
            ("LCS large other", "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"),
        ],
    );
}

/// The lock of a client without scripts: it is taken with NX, and renewed and released only by who holds it.
#[test]
fn a_value_is_set_or_deleted_only_if_it_is_the_one_that_is_named() {
    let house = House::open();
    play(
        &house,
        &[
            ("SET lock mine NX PX 10000", "+OK"),
            ("SET lock mine IFEQ theirs PX 99000", "$-1"),
            ("SET lock mine PX 20000 IFEQ mine", "+OK"),
            ("PTTL lock", ":20000"),
            ("SET lock x IFEQ theirs GET", "mine"),
            ("SET lock x IFNE mine", "$-1"),
            ("SET none x IFEQ y", "$-1"),
            ("SET none x IFNE y GET", "$-1"),
            ("GET none", "x"),
            ("SET lock x NX IFEQ mine", "-ERR syntax error"),
            ("SET lock x IFEQ mine XX", "-ERR syntax error"),
            ("SET lock x IFEQ", "-ERR syntax error"),
            ("DELIFEQ lock theirs", ":0"),
            ("DELEX lock IFNE mine", ":0"),
            ("DELEX lock IFEQ mine x", "-ERR syntax error"),
            ("DELEX lock IFEQ mine", ":1"),
            ("DELIFEQ lock mine", ":0"),
            ("DELEX none", ":1"),
        ],
    );
}
