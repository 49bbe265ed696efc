//! The settings that follow from the facts, each with its reason, as a file that `sealkv serve --config` takes.

use std::fmt::Write as _;

use crate::cli::doctor::facts::MachineFacts;
use crate::cli::doctor::order::DoctorOrder;
use crate::limits::CLIENTS_MAX;
use crate::limits::LOG_SLOT_BYTES;
use crate::limits::LOG_SLOTS;
use crate::limits::MEMORY_BYTES_DEFAULT_MIN;
use crate::limits::OWN_DESCRIPTORS;
use crate::node::words::ByteSize;

/// One setting, as the file has it, and why.
#[derive(Clone, Debug)]
struct Choice {
    name: &'static str,
    value: String,
    why: String,
}

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Advice(Vec<Choice>);

impl Advice {
    pub(super) fn for_machine(facts: &MachineFacts, order: &DoctorOrder) -> Advice {
        // A string of JSON is one of TOML.
        let path = |path: &std::path::Path| serde_json::Value::from(path.display().to_string()).to_string();
        let mut advice = Advice(Vec::new());
        advice.add("data_dir", path(&order.data_dir), "as asked".to_owned());
        match &order.kek_file {
            Some(file) => advice.add("kek_file", path(file), "as asked".to_owned()),
            None => advice.add(
                "kek_file",
                "\"/etc/sealkv/kek\"".to_owned(),
                "make it: sealkv keygen /etc/sealkv/kek".to_owned(),
            ),
        }
        advice.add_log(facts);
        advice.add_memory(facts);
        advice.add_clients(facts);
        advice.add("log_format", "\"json\"".to_owned(), "a collector reads one event a line".to_owned());
        advice
    }

    fn add(&mut self, name: &'static str, value: String, why: String) {
        self.0.push(Choice { name, value, why });
    }

    fn add_log(&mut self, facts: &MachineFacts) {
        let Ok(trial) = &facts.place.trial else { return };
        self.add(
            "log_engine",
            "\"auto\"".to_owned(),
            format!("{} was tried in this directory and works", trial.engine),
        );
        let is_slow = trial.median.as_micros() >= SYNC_MICROS_SLOW;
        let frames = if is_slow { 4 } else { 2 };
        let why = format!(
            "a sync takes {} us here{}",
            trial.median.as_micros(),
            if is_slow { ": more are kept under way" } else { "" }
        );
        self.add("log_frames_in_flight", frames.to_string(), why);
        if facts.place.holds_node {
            return;
        }
        let (slots, slot) =
            if facts.place.free_bytes < SPACE_SMALL { (8, 40 << 20) } else { (LOG_SLOTS, LOG_SLOT_BYTES) };
        self.add("log_slots", slots.to_string(), format!("with {} MiB free", facts.place.free_bytes >> 20));
        self.add("log_slot_bytes", format!("\"{}\"", ByteSize(slot)), format!("of each of the {slots} slots"));
    }

    fn add_memory(&mut self, facts: &MachineFacts) {
        let free = facts.memory_available_bytes;
        let most = whole_mib(free / 2).max(MEMORY_BYTES_DEFAULT_MIN);
        let why = format!("half of the {} MiB that are free, if the machine is the node's own", free >> 20);
        self.add("memory_bytes", format!("\"{}\"", ByteSize(most)), why);
    }

    fn add_clients(&mut self, facts: &MachineFacts) {
        let limit = facts.descriptors.unwrap_or(u64::MAX);
        let clients = limit.saturating_sub(OWN_DESCRIPTORS).clamp(1, CLIENTS_MAX as u64);
        self.add(
            "maxclients",
            clients.to_string(),
            format!("ulimit -Hn is {}", facts.descriptors.map_or("unlimited".to_owned(), |n| n.to_string())),
        );
        let threads = (facts.cores / 2).clamp(1, 8);
        self.add("open_threads", threads.to_string(), format!("half of {} cores", facts.cores));
    }

    /// TOML, the reason above each line.
    pub(super) fn as_file(&self) -> String {
        let mut text = "# Chosen by `sealkv doctor` for this machine.\n".to_owned();
        for Choice { name, value, why } in &self.0 {
            let _ = writeln!(text, "\n# {why}\n{name} = {value}");
        }
        text
    }
}

fn whole_mib(bytes: u64) -> u64 {
    bytes >> 20 << 20
}

const SPACE_SMALL: u64 = 4 << 30;
const SYNC_MICROS_SLOW: u128 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::config::Config;
    use crate::node::settings::Settings;

    #[test]
    fn what_is_advised_is_a_file_of_settings_on_any_machine() {
        let dir = tempfile::tempdir().unwrap();
        let order = DoctorOrder { data_dir: "/var/lib/a \"b\"".into(), kek_file: None, write_config: None };
        for memory in [0, 1 << 28, 1 << 30, 16 << 30, 4 << 40] {
            for descriptors in [None, Some(10), Some(4096), Some(1 << 20)] {
                let mut facts =
                    MachineFacts { memory_available_bytes: memory, descriptors, cores: 3, ..Default::default() };
                facts.place.trial = Err("nothing".to_owned());
                let text = Advice::for_machine(&facts, &order).as_file();
                let path = dir.path().join("sealkv.toml");
                std::fs::write(&path, &text).unwrap();
                let settings = Settings::from_file(&path).unwrap();
                assert_eq!(settings.data_dir.as_ref(), Some(&order.data_dir));
                Config::check(settings).unwrap_or_else(|error| panic!("{error}\n{text}"));
            }
        }
    }

    #[test]
    fn the_whole_advice_of_this_machine_is_a_file_of_settings() {
        let dir = tempfile::tempdir().unwrap();
        let order = DoctorOrder { data_dir: dir.path().join("data"), kek_file: None, write_config: None };
        let facts = MachineFacts::of(&order.data_dir, None);
        let path = dir.path().join("sealkv.toml");
        std::fs::write(&path, Advice::for_machine(&facts, &order).as_file()).unwrap();
        let config = Config::check(Settings::from_file(&path).unwrap()).unwrap();
        assert!(config.log_frames_in_flight >= 2 && config.is_log_size_given);
    }
}
