//! Folders and files of a simulated disk: what is there now, and what would be there behind a power cut.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::path::Component;
use std::path::Path;
use std::sync::Arc;

use crate::testing::base::MemoryBase;
use crate::testing::seed::Seeded;

/// See the head of this file.
#[derive(Default)]
pub(super) struct FilesDisk {
    pub(super) life: u64,
    pub(super) is_dead: bool,
    /// So many calls until the process dies in one.
    pub(super) dies_after: Option<u64>,
    /// And so many that change something.
    pub(super) dies_after_changes: Option<u64>,
    /// Nothing more goes in.
    pub(super) is_full: bool,
    pub(super) nodes: Vec<FileNode>,
    pub(super) names: NameTable,
    pub(super) durable: NameTable,
    pub(super) journal: Vec<NameChange>,
    /// States that came into their place.
    pub(super) installed: u64,
}

/// Folder and name, and what is there.
pub(super) type NameTable = BTreeMap<(usize, String), usize>;

/// What is under a name.
pub(super) enum FileNode {
    Folder,
    File { bytes: Vec<u8>, durable: Vec<u8> },
    State(Arc<MemoryBase>),
}

/// Names that change in one step, in one folder or two.
pub(super) struct NameChange(Vec<((usize, String), Option<usize>)>);

impl NameChange {
    fn folders(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|((folder, _), _)| *folder)
    }

    fn apply(self, names: &mut NameTable) {
        for (name, node) in self.0 {
            match node {
                Some(node) => names.insert(name, node),
                None => names.remove(&name),
            };
        }
    }
}

impl FilesDisk {
    pub(super) fn child(&self, folder: usize, name: &str) -> Option<usize> {
        self.names.get(&(folder, name.to_owned())).copied()
    }

    pub(super) fn find(&self, path: &Path) -> Option<usize> {
        parts(path).into_iter().try_fold(ROOT, |folder, name| self.child(folder, &name))
    }

    /// The folder of a path, and its name there.
    pub(super) fn place(&self, path: &Path) -> io::Result<(usize, String)> {
        let name = parts(path).pop().ok_or(io::ErrorKind::InvalidInput)?;
        let folder = path.parent().and_then(|folder| self.find(folder)).ok_or(io::ErrorKind::NotFound)?;
        Ok((folder, name))
    }

    pub(super) fn children(&self, folder: usize) -> impl Iterator<Item = (&str, usize)> {
        let names = self.names.range((folder, String::new())..(folder + 1, String::new()));
        names.map(|((_, name), node)| (name.as_str(), *node))
    }

    pub(super) fn contents(&self, folder: usize) -> BTreeMap<String, Vec<u8>> {
        let file = |(name, node): (&str, usize)| match &self.nodes[node] {
            FileNode::File { bytes, .. } => Some((name.to_owned(), bytes.clone())),
            FileNode::Folder | FileNode::State(_) => None,
        };
        self.children(folder).filter_map(file).collect()
    }

    pub(super) fn change(&mut self, edits: Vec<((usize, String), Option<usize>)>) {
        NameChange(edits.clone()).apply(&mut self.names);
        self.journal.push(NameChange(edits));
    }

    pub(super) fn add(&mut self, place: (usize, String), node: FileNode) -> usize {
        self.nodes.push(node);
        let number = self.nodes.len() - 1;
        self.change(vec![(place, Some(number))]);
        number
    }

    pub(super) fn make_folder(&mut self, path: &Path) {
        let mut folder = ROOT;
        for name in parts(path) {
            folder = match self.child(folder, &name) {
                Some(there) => there,
                None => self.add((folder, name), FileNode::Folder),
            };
        }
    }

    /// Whoever opens a state changes nothing that a crash could take back.
    pub(super) fn place_state(&mut self, folder: usize, base: Arc<MemoryBase>) {
        base.set_full(self.is_full);
        self.nodes.push(FileNode::State(base));
        let number = self.nodes.len() - 1;
        self.names.insert((folder, STATE.to_owned()), number);
        self.durable.insert((folder, STATE.to_owned()), number);
    }

    pub(super) fn file(&mut self, path: &Path) -> io::Result<(&mut Vec<u8>, &mut Vec<u8>)> {
        let at = self.find(path).ok_or(io::ErrorKind::NotFound)?;
        match &mut self.nodes[at] {
            FileNode::File { bytes, durable } => Ok((bytes, durable)),
            FileNode::Folder | FileNode::State(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// The file of that name, made if there is none.
    pub(super) fn make_file(&mut self, path: &Path) -> io::Result<&mut Vec<u8>> {
        if self.find(path).is_none() {
            let place = self.place(path)?;
            self.add(place, FileNode::File { bytes: Vec::new(), durable: Vec::new() });
        }
        Ok(self.file(path)?.0)
    }

    /// Makes the changes of a folder's names durable, and those that they stand on.
    pub(super) fn sync_names(&mut self, folder: usize) {
        let mut folders = BTreeSet::from([folder]);
        let mut is_synced = vec![false; self.journal.len()];
        for (at, change) in self.journal.iter().enumerate().rev() {
            if change.folders().any(|folder| folders.contains(&folder)) {
                is_synced[at] = true;
                folders.extend(change.folders());
            }
        }
        for (change, is_synced) in std::mem::take(&mut self.journal).into_iter().zip(is_synced) {
            if is_synced {
                change.apply(&mut self.durable);
            } else {
                self.journal.push(change);
            }
        }
    }

    /// Whether there is no space for anything more, in the states on it too.
    pub(super) fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
        for node in &self.nodes {
            if let FileNode::State(base) = node {
                base.set_full(is_full);
            }
        }
    }

    pub(super) fn cut_power(&mut self, chance: &Seeded) {
        let kept = chance.index(self.journal.len() + 1);
        self.journal.drain(..).take(kept).for_each(|change| change.apply(&mut self.durable));
        self.names = self.durable.clone();
        for node in &mut self.nodes {
            let FileNode::File { bytes, durable } = node else { continue };
            if bytes == durable {
                continue;
            }
            match chance.below(3) {
                0 => bytes.clone_from(durable),
                1 => {}
                _ => {
                    let whole = chance.index(bytes.len() + 1);
                    bytes[whole..].fill(0);
                }
            }
            durable.clone_from(bytes);
        }
    }
}

fn parts(path: &Path) -> Vec<String> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

/// The folder of all others.
pub(super) const ROOT: usize = 0;
/// The name of a state that a node has opened, in its folder.
pub(super) const STATE: &str = "opened";
