//! What `sealkv doctor` was asked for.

use std::path::PathBuf;

/// What was asked for.
#[derive(Clone, Debug)]
pub struct DoctorOrder {
    /// Where the node's data would be.
    pub data_dir: PathBuf,
    /// Where its KEK is, or will be.
    pub kek_file: Option<PathBuf>,
    /// Where the chosen settings go.
    pub write_config: Option<PathBuf>,
}
