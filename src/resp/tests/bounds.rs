//! What a client may not do to the node: each ends that client only.

use std::mem::ManuallyDrop;
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use zeroize::Zeroizing;

use crate::limits::CLIENT_MEMORY_BYTES_MIN;
use crate::limits::KEY_BYTES_MAX;
use crate::limits::READ_BATCH_BYTES_MAX;
use crate::limits::VALUE_BYTES_MAX;
use crate::resp::ClientBounds;
use crate::resp::Drained;
use crate::resp::Password;
use crate::resp::tests::double::House;
use crate::resp::tests::double::Talker;
use crate::resp::tests::double::array;

#[test]
fn a_frame_that_announces_a_gibibyte_closes_only_its_connection() {
    let house = House::open();
    let (mut bad, mut good) = (house.client(), house.client());
    bad.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1073741824\r\n");
    assert_eq!(bad.rest(), "-ERR Protocol error: invalid bulk length\r\n");
    assert_eq!(good.ask("SET k v"), "+OK\r\n");
    assert_eq!(house.stats.protocol_errors_total.load(Ordering::Relaxed), 1);
    assert!(house.stats.buffer_bytes.load(Ordering::Relaxed) < 1 << 20);
}

#[test]
fn commands_before_a_protocol_error_are_answered_before_it() {
    let house = House::open();
    let mut client = house.client();
    client.send(b"SET k v\r\n*1\r\n$x\r\n");
    assert_eq!(client.rest(), "+OK\r\n-ERR Protocol error: invalid bulk length\r\n");
}

/// Without a password, and deaf: its replies fill every buffer, so its task waits in a write.
#[test]
fn a_stranger_who_does_not_read_loses_its_socket_with_its_place() {
    let bounds = ClientBounds { clients_max: 1, ..with_password(Duration::from_secs(10)) };
    let house = House::open_with(bounds, 1);
    let mut deaf = house.client();
    deaf.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let pipeline = b"x\r\n".repeat(10_000);
    let sent = (0..400).take_while(|_| std::io::Write::write_all(&mut deaf.stream, &pipeline).is_ok()).count();
    assert!((1..400).contains(&sent), "vacuous: the server took {sent} pipelines");
    let mut other = house.client();
    assert!(other.ask("PING").starts_with("-NOAUTH"), "it has the place");
    let began = Instant::now();
    // The socket is closed with bytes that nobody read: the kernel says so at the next write.
    while !std::io::Write::write(&mut deaf.stream, b"x")
        .is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
    {
        assert!(began.elapsed() < Duration::from_secs(5), "its socket is still open");
    }
}

#[test]
fn a_command_that_never_ends_is_ended() {
    let bounds = ClientBounds { command_deadline: Duration::from_millis(200), ..ClientBounds::default() };
    let house = House::open_with(bounds, 1);
    let mut client = house.client();
    let began = Instant::now();
    for byte in b"*2\r\n$3\r\nGET\r\n$100\r\n".iter().cycle() {
        // The other side closes in the middle; then writing fails.
        if std::io::Write::write_all(&mut client.stream, &[*byte]).is_err() || began.elapsed() > Duration::from_secs(8)
        {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "a byte now and then does not keep it");
    assert_eq!(house.client().ask("PING"), "+PONG\r\n");
}

#[test]
fn an_idle_client_is_closed_only_where_a_timeout_is_set() {
    let house = House::open();
    let (mut first, mut second) = (house.client(), house.client());
    assert_eq!(first.ask("CONFIG SET timeout 1"), "+OK\r\n");
    assert_eq!(second.ask("CONFIG SET timeout 0"), "+OK\r\n");
    assert_eq!(second.ask("PING"), "+PONG\r\n");
    assert_eq!(first.rest(), "", "its deadline was set before");
    assert_eq!(second.ask("PING"), "+PONG\r\n");
}

#[test]
fn nothing_but_a_greeting_is_possible_before_the_password() {
    let house = House::open_with(with_password(Duration::from_secs(10)), 1);
    let mut client = house.client();
    assert_eq!(client.ask("GET a"), "-NOAUTH Authentication required.\r\n");
    assert_eq!(client.ask("PING"), "-NOAUTH Authentication required.\r\n");
    assert!(client.ask("HELLO 3").starts_with("-NOAUTH HELLO must be called"));
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    assert_eq!(client.ask("AUTH nonsense"), wrong);
    assert_eq!(client.ask("AUTH somebody secret"), wrong);
    assert_eq!(client.ask("HELLO 3 AUTH default nonsense"), wrong);
    assert_eq!(house.stats.unauthenticated_clients.load(Ordering::Relaxed), 1);
    assert!(client.ask("HELLO 3 AUTH default secret SETNAME me").starts_with("%7\r\n"));
    assert_eq!(house.stats.unauthenticated_clients.load(Ordering::Relaxed), 0);
    assert_eq!(client.ask("CLIENT GETNAME"), "$2\r\nme\r\n");
    assert_eq!(client.ask("GET a"), "_\r\n");
    assert_eq!(client.ask("RESET"), "+RESET\r\n");
    assert_eq!(client.ask("GET a"), "-NOAUTH Authentication required.\r\n");
    assert_eq!(client.ask("AUTH secret"), "+OK\r\n");
    assert_eq!(client.ask("GET a"), "$-1\r\n");
    assert!(!client.ask("CONFIG GET *").contains("secret"), "the password is told to nobody");
}

#[test]
fn commands_of_operators_need_a_password_of_their_own_where_a_password_is_set() {
    let admin_password = Some(Password::new(&Zeroizing::new(b"operator".to_vec())));
    let bounds = with_password(Duration::from_secs(10));
    let house = House::open_with(ClientBounds { admin_password, is_flush_for_admin: true, ..bounds }, 1);
    let mut client = house.client();
    assert_eq!(client.ask("AUTH secret"), "+OK\r\n");
    assert!(client.ask("AUTH operator").starts_with("-WRONGPASS"));
    let commands = ["SEALKV ENCRYPTION STATUS", "CONFIG SET timeout 0", "CONFIG RESETSTAT", "FLUSHALL", "FLUSHDB"];
    for command in commands {
        assert!(client.ask(command).starts_with("-NOPERM"), "{command}");
    }
    assert_eq!(client.ask("MULTI"), "+OK\r\n");
    assert!(client.ask("FLUSHALL").starts_with("-NOPERM"));
    assert!(client.ask("EXEC").starts_with("-EXECABORT"));
    assert!(client.ask("SEALKV HELP").starts_with('*'));
    assert!(client.ask("CONFIG GET timeout").starts_with('*'));
    assert!(client.ask("AUTH admin secret").starts_with("-WRONGPASS"));
    assert_eq!(client.ask("AUTH admin operator"), "+OK\r\n");
    for command in commands {
        assert!(!client.ask(command).starts_with('-'), "{command}");
    }
    assert_eq!(client.ask("AUTH secret"), "+OK\r\n");
    assert!(client.ask("FLUSHALL").starts_with("-NOPERM"), "it is an ordinary client again");
    // Without a password for them nobody may use them.
    let house = House::open_with(with_password(Duration::from_secs(10)), 1);
    let mut client = house.client();
    assert_eq!(client.ask("AUTH secret"), "+OK\r\n");
    assert!(client.ask("SEALKV ENCRYPTION STATUS").starts_with("-NOPERM"));
    assert_eq!(client.ask("FLUSHALL"), "+OK\r\n");
}

#[test]
fn a_pipeline_is_judged_by_the_password_command_by_command() {
    let house = House::open_with(with_password(Duration::from_secs(10)), 1);
    let mut client = house.client();
    client.send(&[b"SET a 1\r\nAUTH secret\r\n".to_vec(), array(&[b"SET", b"b", &[b'x'; 20_000]])].concat());
    assert_eq!(client.reply(), "-NOAUTH Authentication required.\r\n");
    assert_eq!(client.reply(), "+OK\r\n");
    assert_eq!(client.reply(), "+OK\r\n");
    let mut stranger = house.client();
    stranger.send(b"*2\r\n$4\r\nAUTH\r\n$16385\r\n");
    assert_eq!(stranger.rest(), "-ERR Protocol error: unauthenticated bulk length\r\n");
}

#[test]
fn a_client_that_does_not_authenticate_in_time_is_closed() {
    let house = House::open_with(with_password(Duration::from_millis(150)), 1);
    let mut client = house.client();
    assert_eq!(client.rest(), "");
    let mut known = house.client();
    assert_eq!(known.ask("AUTH secret"), "+OK\r\n");
    std::thread::sleep(Duration::from_millis(250));
    assert_eq!(known.ask("PING"), "+PONG\r\n");
}

fn with_password(auth_deadline: Duration) -> ClientBounds {
    let password = Some(Password::new(&Zeroizing::new(b"secret".to_vec())));
    ClientBounds { password, auth_deadline, ..ClientBounds::default() }
}

/// Goal: a connection that is killed while its socket takes nothing more learns it once it does, without being spoken to.
#[test]
fn a_client_that_is_killed_while_its_reply_waits_is_closed_behind_the_reply() {
    let house = House::open();
    let (mut slow, mut other) = (house.client(), house.client());
    let id = slow.ask("CLIENT ID");
    let id = id.trim_matches([':', '\r', '\n']);
    other.send(&array(&[b"SET", b"k", &[b'x'; 200_000]]));
    assert_eq!(other.reply(), "+OK\r\n");
    let waits = |other: &mut Talker| {
        let list = other.ask(&format!("CLIENT LIST ID {id}"));
        let waiting = list.split(" obl=").nth(1).and_then(|rest| rest.split(' ').next()).map(str::to_owned);
        waiting.is_some_and(|bytes| bytes != "0")
    };
    // Until the buffers of the kernel are full, and stay so. A request that came behind the one whose reply waits would be
    // looked at, and the kill with it: so each has its time.
    while !waits(&mut other) {
        slow.send(b"GET k\r\n");
        std::thread::sleep(Duration::from_millis(60));
    }
    assert_eq!(other.ask(&format!("CLIENT KILL ID {id}")), ":1\r\n");
    let began = Instant::now();
    assert!(slow.rest().starts_with("$200000\r\nxxx"));
    assert!(began.elapsed() < Duration::from_secs(15), "it was closed, and not only given up");
}

#[test]
fn one_client_too_many_is_told_so() {
    let house = House::open_with(ClientBounds { clients_max: 2, ..ClientBounds::default() }, 1);
    let (mut first, mut second) = (house.client(), house.client());
    assert_eq!((first.ask("PING"), second.ask("PING")), ("+PONG\r\n".into(), "+PONG\r\n".into()));
    assert_eq!(house.client().rest(), "-ERR max number of clients reached\r\n");
    drop(second);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(house.client().ask("PING"), "+PONG\r\n");
}

#[test]
fn too_long_keys_and_values_are_refused_with_the_limit() {
    let house = House::open();
    let mut client = house.client();
    client.send(&array(&[b"GET", &vec![b'k'; KEY_BYTES_MAX + 1]]));
    assert_eq!(client.reply(), "-ERR key of 65537 bytes is longer than the limit of 65536\r\n");
    client.send(&array(&[b"SET", b"k", &vec![b'v'; VALUE_BYTES_MAX + 1]]));
    let expected =
        format!("-ERR value of {} bytes is longer than the limit of {VALUE_BYTES_MAX}\r\n", VALUE_BYTES_MAX + 1);
    assert_eq!(client.reply(), expected);
    client.send(&array(&[b"SET", b"k", &vec![b'v'; VALUE_BYTES_MAX]]));
    assert_eq!(client.reply(), "+OK\r\n");
    assert_eq!(client.ask("STRLEN k"), format!(":{VALUE_BYTES_MAX}\r\n"));
}

/// A house in which 9 clients have announced values of 8 MB, which is nearly all that clients may hold.
fn full_house(queue_deadline: Duration) -> (House, Vec<Talker>) {
    let bounds = ClientBounds { memory_bytes_max: CLIENT_MEMORY_BYTES_MIN, queue_deadline, ..ClientBounds::default() };
    let house = House::open_with(bounds, 1);
    let holders = hold_memory(&house, 9);
    (house, holders)
}

/// So many clients that announce values of 8 MB.
fn hold_memory(house: &House, count: usize) -> Vec<Talker> {
    let holders = (0..count).map(|_| {
        let mut holder = house.client();
        holder.send(LARGE_BEGINS);
        holder
    });
    let holders = holders.collect();
    let limit = Instant::now() + Duration::from_secs(10);
    while house.stats.buffer_bytes.load(Ordering::Relaxed) < count * 8_000_000 {
        assert!(Instant::now() < limit, "what is announced is taken before it arrives");
        std::thread::sleep(Duration::from_millis(5));
    }
    holders
}

const LARGE_BEGINS: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$8000000\r\nv";

fn rest_of_large() -> Vec<u8> {
    [&vec![b'v'; 7_999_999][..], b"\r\n"].concat()
}

#[test]
fn without_memory_a_large_command_is_dropped_with_an_error_and_small_ones_go_on() {
    let (house, holders) = full_house(Duration::from_millis(300));
    let mut good = house.client();
    assert_eq!(good.ask("SET k v"), "+OK\r\n");
    let mut large = house.client();
    large.send(LARGE_BEGINS);
    std::thread::sleep(Duration::from_millis(500));
    large.send(&rest_of_large());
    assert!(large.reply().starts_with("-TRYAGAIN the memory of all clients"));
    assert_eq!(large.ask("PING"), "+PONG\r\n", "its connection lives");
    assert!(house.stats.buffer_bytes.load(Ordering::Relaxed) < CLIENT_MEMORY_BYTES_MIN);
    drop(holders);
    assert_eq!(good.ask("GET k"), "$1\r\nv\r\n");
    assert_eq!(good.ask("EXISTS b"), ":0\r\n");
    let limit = Instant::now() + Duration::from_secs(10);
    while house.stats.buffer_bytes.load(Ordering::Relaxed) > 1 << 18 {
        assert!(Instant::now() < limit, "what was taken is given back");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn who_holds_much_and_does_not_move_gives_way_to_who_waits() {
    let (house, mut holders) = full_house(Duration::from_secs(9));
    let mut large = house.client();
    large.send(LARGE_BEGINS);
    large.send(&rest_of_large());
    assert_eq!(large.reply(), "+OK\r\n");
    assert!(house.stats.connections_closed_total.load(Ordering::Relaxed) > 0);
    assert_eq!(holders.remove(0).rest(), "");
}

#[test]
fn one_who_reads_little_reads_on_while_others_hold_everything() {
    let (house, holders) = full_house(Duration::from_secs(9));
    let mut good = house.client();
    assert_eq!(good.ask("SET k v"), "+OK\r\n");
    drop(holders);
    assert_eq!(good.ask("GET k"), "$1\r\nv\r\n", "it is known to read little now");
    let mut again: Vec<Talker> = (0..9).map(|_| house.client()).collect();
    again.iter_mut().for_each(|holder| holder.send(LARGE_BEGINS));
    std::thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    assert_eq!(good.ask("GET k"), "$1\r\nv\r\n");
    assert_eq!(good.ask("MGET k none"), "*2\r\n$1\r\nv\r\n$-1\r\n");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn a_new_client_that_asks_for_little_does_not_stand_behind_others() {
    let (house, _holders) = full_house(Duration::from_secs(9));
    let mut large = house.client();
    large.send(LARGE_BEGINS);
    let mut good = house.client();
    let began = Instant::now();
    assert_eq!(good.ask("GET k"), "$-1\r\n");
    // It is known to read little now.
    assert_eq!(good.ask("MGET k none"), "*2\r\n$-1\r\n$-1\r\n");
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    assert_eq!(house.stats.connections_closed_total.load(Ordering::Relaxed), 0, "nobody had to give way for it");
}

/// A house that is full, and a client in it that waits to read a value of 8 MB.
fn full_house_with_a_reader(read_deadline: Duration) -> (House, Vec<Talker>, Talker) {
    let bounds = ClientBounds { memory_bytes_max: CLIENT_MEMORY_BYTES_MIN, read_deadline, ..ClientBounds::default() };
    let house = House::open_with(bounds, 1);
    let mut reader = house.client();
    reader.send(&[LARGE_BEGINS, &rest_of_large()].concat());
    assert_eq!(reader.reply(), "+OK\r\n");
    let holders = hold_memory(&house, 9);
    reader.send(b"GET b\r\n");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(house.stats.connected_clients.load(Ordering::Relaxed), 10);
    (house, holders, reader)
}

#[test]
fn who_is_gone_leaves_the_line_for_memory() {
    let (house, holders, reader) = full_house_with_a_reader(Duration::from_secs(9));
    drop(reader);
    let limit = Instant::now() + Duration::from_secs(10);
    while house.stats.connected_clients.load(Ordering::Relaxed) == 10 {
        assert!(Instant::now() < limit, "it still waits");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(house.stats.connections_closed_total.load(Ordering::Relaxed), 0, "nobody had to give way for it");
    drop(holders);
}

/// Goal: one answer that is larger than what is left keeps nobody else waiting, while more than half of the memory is free.
#[test]
fn who_asks_for_more_than_is_left_waits_for_it_and_others_go_on() {
    let bounds = ClientBounds { memory_bytes_max: CLIENT_MEMORY_BYTES_MIN, ..ClientBounds::default() };
    // Not closed where this fails: it would wait for the task that does not end.
    let house = ManuallyDrop::new(House::open_with(bounds, 1));
    let (mut much, mut good) = (house.client(), house.client());
    for key in 0..8 {
        let key = format!("k{key}");
        much.send(&array(&[b"SET", key.as_bytes(), &vec![b'v'; 7_500_000]]));
        assert_eq!(much.reply(), "+OK\r\n");
    }
    let holders = hold_memory(&house, 4);
    much.send(b"MGET k0 k1 k2 k3 k4 k5 k6 k7\r\n");
    std::thread::sleep(Duration::from_millis(200));
    good.stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let began = Instant::now();
    assert_eq!(good.ask("PING"), "+PONG\r\n");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    drop(holders);
    let reply = much.reply();
    drop(ManuallyDrop::into_inner(house));
    assert!(reply.starts_with("*8\r\n") || reply.starts_with("-TRYAGAIN the memory"), "{}", reply.len());
}

/// Goal: what a client sends while it waits for memory, again and again, is not taken in without bound.
#[test]
fn bounded_a_client_that_waits_for_memory_is_read_from_only_a_little() {
    let (house, _holders, mut reader) = full_house_with_a_reader(Duration::from_millis(10));
    reader.stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let pipeline = b"GET b\r\n".repeat(50_000);
    let sent = (0..100).take_while(|_| std::io::Write::write_all(&mut reader.stream, &pipeline).is_ok()).count();
    assert!(sent < 100, "vacuous: the server took {sent} pipelines");
    std::thread::sleep(Duration::from_millis(400));
    let list = house.client().ask("CLIENT LIST");
    let inboxes: Vec<usize> =
        list.split(" qbuf=").skip(1).map(|rest| rest.split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(inboxes.iter().all(|bytes| *bytes <= 2 * READ_BATCH_BYTES_MAX), "{inboxes:?}");
    assert!(house.stats.try_again_total.load(Ordering::Relaxed) > 5, "vacuous: it did not wait again and again");
    assert_eq!(house.stats.connections_closed_total.load(Ordering::Relaxed), 0, "nobody had to give way for it");
}

#[test]
fn a_killed_client_leaves_the_line_for_memory() {
    let (house, _holders, mut reader) = full_house_with_a_reader(Duration::from_secs(9));
    let mut other = house.client();
    let list = other.ask("CLIENT LIST");
    let line = list.lines().find(|line| line.contains("cmd=get")).unwrap_or_else(|| panic!("{list}"));
    let id = line.split("id=").nth(1).unwrap().split(' ').next().unwrap();
    assert_eq!(other.ask(&format!("CLIENT KILL ID {id}")), ":1\r\n");
    assert_eq!(reader.rest(), "");
    assert_eq!(house.stats.connections_closed_total.load(Ordering::Relaxed), 0, "nobody had to give way for it");
}

#[test]
fn a_client_that_has_ended_its_side_while_it_waits_gets_what_was_done_before() {
    let (house, _holders, _other) = full_house_with_a_reader(Duration::from_secs(9));
    let mut reader = house.client();
    reader.send(b"SET k v\r\nGET b\r\n");
    std::thread::sleep(Duration::from_millis(100));
    reader.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(reader.rest(), "+OK\r\n");
}

#[test]
fn what_arrives_while_a_client_waits_runs_behind_what_it_waits_for() {
    let (_house, _holders, mut reader) = full_house_with_a_reader(Duration::from_secs(9));
    reader.send(b"PING\r\nSET k v\r\nGET k\r\n");
    let value = reader.reply();
    assert!(value.starts_with("$8000000\r\nvvv") && value.len() == 8_000_012, "{} bytes", value.len());
    assert_eq!(
        (reader.reply(), reader.reply(), reader.reply()),
        ("+PONG\r\n".into(), "+OK\r\n".into(), "$1\r\nv\r\n".into())
    );
}

#[test]
fn a_client_that_does_not_take_its_replies_is_closed() {
    let bounds = ClientBounds { write_deadline: Duration::from_millis(200), ..ClientBounds::default() };
    let house = House::open_with(bounds, 1);
    let mut slow = house.client();
    slow.send(&array(&[b"SET", b"k", &vec![b'v'; 8_000_000]]));
    assert_eq!(slow.reply(), "+OK\r\n");
    // A reply of 8 MB has 122 s more; several small batches have not.
    slow.send(&array(&[b"SET", b"k", &vec![b'v'; 60_000]]));
    assert_eq!(slow.reply(), "+OK\r\n");
    slow.send("GET k\r\n".repeat(400).as_bytes());
    let began = Instant::now();
    while house.stats.connected_clients.load(Ordering::Relaxed) > 0 && began.elapsed() < Duration::from_secs(15) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(house.stats.connected_clients.load(Ordering::Relaxed), 0);
    assert_eq!(house.client().ask("PING"), "+PONG\r\n");
}

#[test]
fn stopping_answers_what_is_in_flight_and_closes() {
    let mut house = House::open();
    let (mut busy, mut idle) = (house.client(), house.client());
    assert_eq!(idle.ask("PING"), "+PONG\r\n");
    busy.send(b"SET a 1\r\n");
    assert_eq!(busy.reply(), "+OK\r\n");
    assert_eq!(house.stop(), Drained { aborted: 0 });
    assert_eq!((busy.rest(), idle.rest()), (String::new(), String::new()));
    assert!(std::net::TcpStream::connect(house.address).is_err(), "nobody listens any more");
}

#[test]
fn a_client_that_has_ended_its_side_still_gets_its_replies() {
    let house = House::open();
    let mut client = house.client();
    client.send(b"SET a 1\r\nGET a\r\n");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), "+OK\r\n$1\r\n1\r\n");
}

#[test]
fn a_browser_is_closed_without_a_word() {
    let house = House::open();
    let mut client = house.client();
    client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET a 1\r\n");
    assert_eq!(client.rest(), "");
    assert_eq!(house.client().ask("GET a"), "$-1\r\n");
}
