//! The binary: flags -> settings -> a running node -> an exit status.

use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap::Parser;
use clap::Subcommand;
use clap::error::ErrorKind;

use sealkv::cli;
use sealkv::cli::admin::AdminPlace;
use sealkv::cli::admin::OperatorAccess;
use sealkv::cli::bench::BenchOrder;
use sealkv::cli::bench::BenchSubject;
use sealkv::cli::cert::CertTarget;
use sealkv::cli::doctor::DoctorOrder;
use sealkv::cli::load::LoadTarget;
use sealkv::cli::log::LogPlace;
use sealkv::exit::Blame;
use sealkv::exit::chain;
use sealkv::ids::NodeId;
use sealkv::limits::CERTIFICATE_DAYS;
use sealkv::node::settings::Settings;
use sealkv::tls::OperatorTls;
use sealkv::world::KernelEntropy;
use sealkv::world::SystemClock;

/// The allocator of the binary; the library leaves the choice to who embeds it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An encrypted, replicated key-value node that speaks the Redis protocol.
#[derive(Parser)]
#[command(name = "sealkv", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Subcommand)]
enum CliCommand {
    /// Run a node. Settings come from the file, then SEALKV_* variables, then flags; later ones win
    #[command(args_override_self = true)]
    Serve {
        /// TOML file of settings; names as the flags, with underscores
        #[arg(long, env = "SEALKV_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// Check the settings, the KEK and the password file, say what is wrong or "configuration ok", and exit
        #[arg(long)]
        check_config: bool,
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// Write a new key-encryption key: 32 random bytes, mode 0600; an existing file is never touched
    Keygen {
        /// The file to make
        file: PathBuf,
    },
    /// Make a CA for one cluster, and certificates of its nodes and of clients; an existing file is never touched
    #[command(subcommand)]
    Cert(CertCommand),
    /// Write all rows of a node that does not run to standard output, as commands for `sealkv load` or redis-cli --pipe
    Dump(DirectoryArguments),
    /// Send the commands of a dump, from standard input, to a node that runs
    Load {
        /// The node's client address
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:6379")]
        to: String,
        /// File whose first line is the clients' password
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Take input that sealkv dump has not made: nothing then tells whether it is whole
        #[arg(long)]
        without_end: bool,
    },
    /// Say whether a node that runs is ready: 0 ready, 1 not ready, 74 nobody answers
    Status {
        /// The node's admin address
        #[arg(long, env = "SEALKV_ADMIN_LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:9379")]
        admin: String,
    },
    /// See and change the members of a cluster, as an operator
    #[command(subcommand)]
    Admin(AdminCommand),
    /// Look at the state of a node that does not run
    #[command(subcommand)]
    State(StateCommand),
    /// Look at the log of a node that does not run
    #[command(subcommand)]
    Log(LogCommand),
    /// Say whether a node would do well here, line by line, and with which settings: 0 fit, 1 not
    Doctor {
        /// The directory that the node's data is, or would be, in
        #[arg(long, env = "SEALKV_DATA_DIR", value_name = "DIR", default_value = "/var/lib/sealkv")]
        data_dir: PathBuf,
        /// File of its key-encryption key
        #[arg(long, env = "SEALKV_KEK_FILE", value_name = "FILE")]
        kek_file: Option<PathBuf>,
        /// Write the chosen settings to a new file, for `sealkv serve --config`
        #[arg(long, value_name = "FILE")]
        write_config: Option<PathBuf>,
    },
    /// Measure what this machine does: crypto, log, apply, or a whole node, nil beside sealed
    Bench {
        /// What is measured: crypto, log, apply or node
        subject: BenchSubject,
        /// How long it may take in all
        #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
        /// One JSON object a row instead of a table
        #[arg(long)]
        json: bool,
        /// Where logs and nodes of its own are made, and removed: on the disk that is asked about
        #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
        directory: PathBuf,
    },
    /// Run the known answers of every start and, if given, every vector of a file
    Selftest {
        /// Test vectors (JSON, may be gzipped)
        #[arg(long, value_name = "FILE")]
        vectors: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum AdminCommand {
    /// Who belongs to the cluster, and changes of that
    #[command(subcommand)]
    Member(MemberCommand),
    /// Have another voter lead: this one, or the one that has most of the log
    TransferLeader {
        /// Its number
        node: Option<u64>,
        #[command(flatten)]
        place: AdminArguments,
    },
    /// Compare what all nodes that are given hold at one applied index: 0 the same, 74 not
    Compare {
        #[command(flatten)]
        place: AdminArguments,
    },
}

#[derive(Subcommand)]
enum MemberCommand {
    /// Show the members, who leads, and how many entries each is behind
    List {
        #[command(flatten)]
        place: AdminArguments,
    },
    /// Take a node in as a learner, which has no vote; start it with --join before or after this
    Add {
        /// Its number
        node: u64,
        /// Its address for the other nodes
        address: String,
        #[command(flatten)]
        place: AdminArguments,
    },
    /// Give a learner that has caught up a vote
    Promote {
        /// Its number
        node: u64,
        #[command(flatten)]
        place: AdminArguments,
    },
    /// Take a node out; a leader hands its leadership over first
    Remove {
        /// Its number
        node: u64,
        #[command(flatten)]
        place: AdminArguments,
    },
    /// Put a learner that has caught up in the place of a voter, in one step
    Replace {
        /// The voter that goes
        old: u64,
        /// The learner
        new: u64,
        #[command(flatten)]
        place: AdminArguments,
    },
}

#[derive(clap::Args)]
struct AdminArguments {
    /// Client addresses of nodes, with commas; the first that answers is asked
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:6379", value_delimiter = ',')]
    to: Vec<String>,
    /// File whose first line is the password of operators
    #[arg(long, env = "SEALKV_ADMINPASS_FILE", value_name = "FILE")]
    adminpass_file: Option<PathBuf>,
    /// Speak TLS 1.3 with nodes whose certificate names the host of --to
    #[arg(long, requires = "tls_ca")]
    tls: bool,
    /// Certificates of the CAs that sign the nodes
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_ca: Option<PathBuf>,
    /// Certificate that is shown to them
    #[arg(long, value_name = "FILE", requires_all = ["tls", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Print one JSON value instead of a table
    #[arg(long)]
    json: bool,
}

impl From<AdminArguments> for AdminPlace {
    fn from(args: AdminArguments) -> AdminPlace {
        let tls = args.tls_ca.map(|ca| OperatorTls { ca, shown: args.tls_cert.zip(args.tls_key) });
        let access = OperatorAccess { password_file: args.adminpass_file, tls };
        AdminPlace { to: args.to, access, is_json: args.json }
    }
}

#[derive(Subcommand)]
enum CertCommand {
    /// Make ca.crt and ca.key. The key signs: keep it away from the nodes
    Ca(CertArguments),
    /// Make node-ID.crt and node-ID.key, for --peer-cert and --peer-key
    Node {
        /// The node
        id: std::num::NonZeroU64,
        /// A host name or address that clients use for it; may be said several times. Without it that of --initial-cluster
        #[arg(long = "host", value_name = "HOST")]
        hosts: Vec<String>,
        #[command(flatten)]
        target: CertArguments,
    },
    /// Make client-NAME.crt and client-NAME.key
    Client {
        /// The client: letters, digits and hyphens
        name: String,
        #[command(flatten)]
        target: CertArguments,
    },
}

#[derive(clap::Args)]
struct CertArguments {
    /// Where ca.crt and ca.key are, and where certificates go
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The same list that the nodes get: the cluster's id follows from it
    #[arg(long, env = "SEALKV_INITIAL_CLUSTER", value_name = "NODE=HOST:PORT,...")]
    initial_cluster: String,
    /// The same name that the nodes get, if they get one
    #[arg(long, env = "SEALKV_CLUSTER_NAME", value_name = "NAME")]
    cluster_name: Option<String>,
    /// For how many days it is good
    #[arg(long, default_value_t = CERTIFICATE_DAYS)]
    days: u32,
}

impl From<CertArguments> for CertTarget {
    fn from(CertArguments { dir, initial_cluster, cluster_name, days }: CertArguments) -> CertTarget {
        CertTarget { folder: dir, initial_cluster, cluster_name, days }
    }
}

#[derive(Subcommand)]
enum StateCommand {
    /// Print the applied index and the digest of all rows, as one JSON object
    Digest(DirectoryArguments),
}

#[derive(Subcommand)]
enum LogCommand {
    /// Read every frame by the rules of a start; 0 if the log is whole, 74 if it is damaged, 78 if the KEK does not fit
    Verify(DirectoryArguments),
    /// Print segments, frames and entries, one JSON object a line; no plaintext
    Dump {
        #[command(flatten)]
        place: DirectoryArguments,
        /// The only format there is, said or not
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct DirectoryArguments {
    /// The node's data directory; nothing in it is changed
    #[arg(long, env = "SEALKV_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// File of its key-encryption key, if it is sealed
    #[arg(long, env = "SEALKV_KEK_FILE", value_name = "FILE")]
    kek_file: Option<PathBuf>,
}

impl From<DirectoryArguments> for LogPlace {
    fn from(DirectoryArguments { data_dir, kek_file }: DirectoryArguments) -> LogPlace {
        LogPlace { data_dir, kek_file }
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.command {
        CliCommand::Serve { config, check_config, settings } => {
            cli::serve::run(config.as_deref(), check_config, *settings)
        }
        CliCommand::Keygen { file } => keygen(&file),
        CliCommand::Cert(command) => cert(command),
        CliCommand::Dump(place) => cli::dump::run(&place.data_dir, place.kek_file.as_deref()),
        CliCommand::Load { to, password_file, without_end } => {
            cli::load::run(&LoadTarget { address: to, password_file, is_without_end: without_end })
        }
        CliCommand::Status { admin } => cli::status::run(&admin),
        CliCommand::Admin(command) => admin(command),
        CliCommand::State(StateCommand::Digest(place)) => {
            cli::state::digest(&place.data_dir, place.kek_file.as_deref())
        }
        CliCommand::Log(LogCommand::Verify(place)) => cli::log::verify(&place.into()),
        CliCommand::Log(LogCommand::Dump { place, json: _ }) => cli::log::dump(&place.into()),
        CliCommand::Doctor { data_dir, kek_file, write_config } => {
            cli::doctor::run(&DoctorOrder { data_dir, kek_file, write_config })
        }
        CliCommand::Bench { subject, seconds, json, directory } => {
            cli::bench::run(&BenchOrder { subject, seconds, json, directory })
        }
        CliCommand::Selftest { vectors } => cli::selftest::run(vectors.as_deref()),
    }
}

fn admin(command: AdminCommand) -> ExitCode {
    let change = |place: AdminArguments, words: &[&str]| cli::admin::change(&place.into(), words);
    match command {
        AdminCommand::Member(MemberCommand::List { place }) => cli::admin::list(&place.into()),
        AdminCommand::Member(MemberCommand::Add { node, address, place }) => {
            change(place, &["ADD", &node.to_string(), &address])
        }
        AdminCommand::Member(MemberCommand::Promote { node, place }) => change(place, &["PROMOTE", &node.to_string()]),
        AdminCommand::Member(MemberCommand::Remove { node, place }) => change(place, &["REMOVE", &node.to_string()]),
        AdminCommand::Member(MemberCommand::Replace { old, new, place }) => {
            change(place, &["REPLACE", &old.to_string(), &new.to_string()])
        }
        AdminCommand::TransferLeader { node: Some(node), place } => change(place, &["TRANSFER", &node.to_string()]),
        AdminCommand::TransferLeader { node: None, place } => change(place, &["TRANSFER"]),
        AdminCommand::Compare { place } => cli::admin::compare(&place.into()),
    }
}

/// Help and version as they are; anything wrong in flags or their variables is one line and 78, as in the file.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        error.exit();
    }
    let text = error.render().to_string();
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if is_help {
        cli::say(text.trim_end());
    } else {
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
            .filter(|line| !line.is_empty())
            .collect();
        let line = lines.join(" ");
        let line = negative().map_or(line, |(flag, value)| {
            format!("invalid value '{value}' for '{flag}': expected a number that is not below 0")
        });
        let hint = REDIS_FLAGS.iter().find(|(theirs, _)| line.contains(&format!("'{theirs}'")));
        let hint = hint.map_or_else(String::new, |(_, ours)| format!(", the flag is {ours}"));
        cli::say(&format!("sealkv: {}{hint} (see {} -h)", line.trim_start_matches("error: "), command_of_the_line()));
    }
    Blame::Config.into()
}

/// A flag with a number below 0, which looks like another flag.
fn negative() -> Option<(String, String)> {
    let words: Vec<String> = std::env::args().collect();
    let is_below = |value: &str| value.starts_with('-') && value.parse::<f64>().is_ok();
    let found = words.windows(2).find(|pair| pair[0].starts_with("--") && is_below(&pair[1]))?;
    Some((found[0].clone(), found[1].clone()))
}

/// The command whose flags are wrong, as far as it can be told from the words of the command line.
fn command_of_the_line() -> String {
    let mut command = Cli::command();
    let mut name = command.get_name().to_owned();
    for word in std::env::args().skip(1) {
        let Some(found) = command.find_subcommand(&word) else { break };
        name = format!("{name} {word}");
        command = found.clone();
    }
    name
}

/// What people try first, and what it is called here.
const REDIS_FLAGS: [(&str, &str); 6] = [
    ("--port", "--listen HOST:PORT"),
    ("--bind", "--listen HOST:PORT"),
    ("--dir", "--data-dir DIR"),
    ("--requirepass", "--requirepass-file FILE"),
    ("--loglevel", "--log-level LEVEL"),
    ("--key-file", "--kek-file FILE"),
];

fn cert(command: CertCommand) -> ExitCode {
    let clock = SystemClock::default();
    let made = match command {
        CertCommand::Ca(target) => cli::cert::authority(&target.into(), &clock),
        CertCommand::Node { id, hosts, target } => {
            let id = NodeId::new(id.get()).expect("not 0 by its type");
            cli::cert::node(&target.into(), id, &hosts, &clock)
        }
        CertCommand::Client { name, target } => cli::cert::client(&target.into(), &name, &clock),
    };
    match made {
        Ok(paths) => {
            // A closed stdout is no reason to fail: the files are there.
            let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            let _ = writeln!(std::io::stdout(), "made {}", paths.join(" and "));
            ExitCode::SUCCESS
        }
        Err(error) => {
            cli::say(&format!("sealkv: {}", chain(&error)));
            Blame::Config.into()
        }
    }
}

fn keygen(file: &Path) -> ExitCode {
    match cli::keygen::run(file, &KernelEntropy) {
        Ok(id) => {
            // A closed stdout is no reason to fail: the key is there.
            let _ = writeln!(
                std::io::stdout(),
                "made {} (KEK id {id}). Keep a copy elsewhere: without it the data is lost",
                file.display()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            cli::say(&format!("sealkv: {}", chain(&error)));
            Blame::Config.into()
        }
    }
}
