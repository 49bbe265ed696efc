//! Processes that do nothing for a while.

use std::fs;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;

/// They go on when this is dropped.
pub struct Stopped(Vec<Pid>);

impl Stopped {
    /// Stops processes with their children: a server may rewrite its file in one.
    pub fn begin(pids: impl Iterator<Item = u32>) -> Result<Stopped, String> {
        let mut stopped = Stopped(Vec::new());
        for pid in pids {
            stopped.add(pid)?;
        }
        Ok(stopped)
    }

    fn add(&mut self, pid: u32) -> Result<(), String> {
        let id = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(format!("{pid} is no process"))?;
        kill_process(id, Signal::STOP).map_err(|problem| format!("process {pid} cannot be stopped: {problem}"))?;
        self.0.push(id);
        // It has no more of them from here on. One that has ended meanwhile does nothing either.
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            let _ = self.add(child);
        }
        Ok(())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for id in &self.0 {
            let _ = kill_process(*id, Signal::CONT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    /// The state of the process as the kernel writes it: T is stopped.
    fn state(pid: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status.lines().find_map(|line| line.strip_prefix("State:")).unwrap().trim().chars().take(1).collect()
    }

    /// A signal is there as soon as it is sent, but who runs on another core goes on for a moment.
    fn comes_to(pid: &str, is_stopped: bool) {
        for _ in 0..1000 {
            if (state(pid) == "T") == is_stopped {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("process {pid} is in state {}", state(pid));
    }

    #[test]
    fn a_process_and_its_children_stand_still_until_it_is_dropped() {
        let mut parent = Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().unwrap();
        let id = parent.id().to_string();
        let children = || fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        while children().is_empty() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let child = children().trim().to_owned();
        let stopped = Stopped::begin([parent.id()].into_iter()).unwrap();
        comes_to(&id, true);
        comes_to(&child, true);
        drop(stopped);
        comes_to(&id, false);
        comes_to(&child, false);
        kill_process(Pid::from_raw(child.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
        parent.wait().unwrap();
        assert!(Stopped::begin([0].into_iter()).is_err());
    }
}
