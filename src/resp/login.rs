//! Who the client is and which protocol it speaks: HELLO, AUTH, RESET.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use crate::fsm::name::Database;
use crate::resp::codec::arguments::Arguments;
use crate::resp::codec::reply::Encoder;
use crate::resp::codec::reply::Protocol;
use crate::resp::codec::request::Sender;
use crate::resp::codec::request::parse_integer;
use crate::resp::commands::ErrorLine;
use crate::resp::local::client::check_name;
use crate::resp::local::info::REDIS_VERSION;
use crate::resp::registry::Client;
use crate::resp::registry::lock;
use crate::resp::shared::ServerShared;

/// One client's rights and protocol.
pub(crate) struct Login {
    shared: Arc<ServerShared>,
    client: Arc<Client>,
    protocol: Protocol,
    failures: u32,
    /// It has shown the operators' password.
    is_admin: bool,
    /// When it has to have authenticated; `None` once it has.
    deadline: Option<Instant>,
}

impl Login {
    pub(crate) fn new(shared: Arc<ServerShared>, client: Arc<Client>) -> Login {
        let mut login =
            Login { shared, client, protocol: Protocol::Resp2, failures: 0, is_admin: false, deadline: None };
        if login.shared.bounds.password.is_some() {
            login.revoke();
        } else {
            login.client.is_authenticated.store(true, Ordering::Relaxed);
        }
        login
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Wrong passwords since the last right one.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// When it has to have authenticated; `None` once it has.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether it may use the commands of operators.
    pub(crate) fn is_admin(&self) -> bool {
        let bounds = &self.shared.bounds;
        self.is_admin || (bounds.password.is_none() && bounds.admin_password.is_none())
    }

    /// Its name in ACL WHOAMI.
    pub(crate) fn user(&self) -> &'static [u8] {
        if self.is_admin { ADMIN_USER } else { DEFAULT_USER }
    }

    /// Which bounds its next command has.
    pub(crate) fn sender(&self) -> Sender {
        if self.deadline.is_some() { Sender::Unauthenticated } else { Sender::Authenticated }
    }

    /// It has shown the password.
    fn authenticate(&mut self) {
        self.deadline = None;
        self.shared.registry.set_stranger(self.client.id, false);
        self.client.is_authenticated.store(true, Ordering::Relaxed);
    }

    /// It has to authenticate (again).
    fn revoke(&mut self) {
        self.shared.registry.set_stranger(self.client.id, true);
        self.deadline = Some(Instant::now() + self.shared.bounds.auth_deadline);
        self.client.is_authenticated.store(false, Ordering::Relaxed);
    }

    /// AUTH [user] password.
    pub(crate) fn auth(&mut self, arguments: Arguments<'_>, out: &mut Vec<u8>) -> Result<(), ErrorLine> {
        match arguments.len() {
            2 if self.shared.bounds.password.is_none() => return Err(NO_PASSWORD),
            2 => self.check_password(DEFAULT_USER, arguments.slice(1))?,
            3 => self.check_password(arguments.slice(1), arguments.slice(2))?,
            _ => return Err(ErrorLine::fixed("ERR syntax error")),
        }
        Encoder::new(out, self.protocol).simple("OK");
        Ok(())
    }

    /// HELLO [2|3 [AUTH user password] [SETNAME name]].
    pub(crate) fn hello(&mut self, arguments: Arguments<'_>, out: &mut Vec<u8>) -> Result<(), ErrorLine> {
        let mut protocol = self.protocol;
        if arguments.len() > 1 {
            protocol = match parse_integer(arguments.slice(1)) {
                Some(2) => Protocol::Resp2,
                Some(3) => Protocol::Resp3,
                Some(_) => return Err(ErrorLine::fixed("NOPROTO unsupported protocol version")),
                None => return Err(ErrorLine::fixed("ERR Protocol version is not an integer or out of range")),
            };
        }
        let mut credentials = None;
        let mut name = None;
        let mut position = 2;
        while position < arguments.len() {
            let word = arguments.slice(position);
            let left = arguments.len() - position - 1;
            if word.eq_ignore_ascii_case(b"auth") && left >= 2 {
                credentials = Some((arguments.slice(position + 1), arguments.slice(position + 2)));
                position += 3;
            } else if word.eq_ignore_ascii_case(b"setname") && left >= 1 {
                name = Some(check_name(arguments.slice(position + 1), NAME_REFUSAL)?);
                position += 2;
            } else {
                let word = String::from_utf8_lossy(word);
                return Err(ErrorLine::made(format!("ERR Syntax error in HELLO option '{word}'")));
            }
        }
        if let Some((user, password)) = credentials {
            self.check_password(user, password)?;
        }
        if self.deadline.is_some() {
            return Err(HELLO_WITHOUT_AUTH);
        }
        if let Some(name) = name {
            lock(&self.client.names).name = name;
        }
        self.speak(protocol);
        self.write_greeting(out);
        Ok(())
    }

    fn write_greeting(&self, out: &mut Vec<u8>) {
        let mut encoder = Encoder::new(out, self.protocol);
        encoder.map(7);
        encoder.bulk(b"server");
        encoder.bulk(b"redis");
        encoder.bulk(b"version");
        encoder.bulk(REDIS_VERSION.as_bytes());
        encoder.bulk(b"proto");
        encoder.integer(i64::from(self.protocol.number()));
        encoder.bulk(b"id");
        encoder.integer(i64::try_from(self.client.id).unwrap_or(i64::MAX));
        encoder.bulk(b"mode");
        encoder.bulk(b"standalone");
        encoder.bulk(b"role");
        let role = match self.shared.facts.role().word() {
            "slave" => "replica",
            word => word,
        };
        encoder.bulk(role.as_bytes());
        encoder.bulk(b"modules");
        encoder.array(0);
    }

    /// RESET: as if it had just connected.
    pub(crate) fn reset(&mut self, out: &mut Vec<u8>) {
        self.speak(Protocol::Resp2);
        lock(&self.client.names).name.clear();
        self.is_admin = false;
        self.client.select(Database::FIRST);
        if self.shared.bounds.password.is_some() {
            self.revoke();
        }
        Encoder::new(out, self.protocol).simple("RESET");
    }

    fn speak(&mut self, protocol: Protocol) {
        self.protocol = protocol;
        self.client.protocol.store(protocol.number(), Ordering::Relaxed);
    }

    /// The users' names are no secret: there are two. Both passwords are compared whatever the name, so that the time
    /// tells nothing about any of them.
    fn check_password(&mut self, user: &[u8], password: &[u8]) -> Result<(), ErrorLine> {
        let bounds = &self.shared.bounds;
        let is_clients = bounds.password.as_ref().is_none_or(|expected| expected.matches(password));
        let is_admins = bounds.admin_password.as_ref().is_some_and(|expected| expected.matches(password));
        if (user == DEFAULT_USER && is_clients) || (user == ADMIN_USER && is_admins) {
            self.is_admin = user == ADMIN_USER;
            if self.is_admin {
                let client = self.client.id;
                tracing::info!(target: "audit", client, from = %self.client.address.ip(), "an operator has logged in");
            }
            self.authenticate();
            self.failures = 0;
            return Ok(());
        }
        self.failures += 1;
        self.shared.stats.count_wrong_password(self.client.address.ip());
        Err(WRONG_PASSWORD)
    }
}

const DEFAULT_USER: &[u8] = b"default";
const ADMIN_USER: &[u8] = b"admin";
const WRONG_PASSWORD: ErrorLine = ErrorLine::fixed("WRONGPASS invalid username-password pair or user is disabled.");
const NO_PASSWORD: ErrorLine = ErrorLine::fixed(
    "ERR AUTH <password> called without any password configured for the default user. \
     Are you sure your configuration is correct?",
);
const HELLO_WITHOUT_AUTH: ErrorLine = ErrorLine::fixed(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> \
     option can be used to authenticate the client and select the RESP protocol version at the same time",
);
const NAME_REFUSAL: &str = "ERR Client names cannot contain spaces, newlines or special characters.";
