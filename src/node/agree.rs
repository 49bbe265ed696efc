//! Whether the parts of a node belong together: identity, log and state, before any of them is written.
//!
//! Pure comparisons of what was read. The state's own rows are verified before ([`crate::fsm::state::Applied::open`]).

use crate::exit::Blame;
use crate::fsm::state::Applied;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::ids::Term;
use crate::keys::identity::Identity;
use crate::keys::keyring::Keyring;

/// How far the recovered log reaches, and the cutover that it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFacts {
    /// Entries up to here were trimmed.
    pub compacted: Index,
    /// Its newest entry, or `compacted` if it has none.
    pub last: Index,
    /// Commit in its newest hard state.
    pub commit: Index,
    /// The cutover that it knows, [`Index::NEVER`] if none.
    pub cutover: Index,
}

/// Two parts of a node that do not belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// Operator: directories were mixed up.
    #[error("the state is of cluster {state}, this node is in {identity}: put back the state that belongs here")]
    OtherCluster {
        /// In the state.
        state: ClusterId,
        /// In IDENTITY.
        identity: ClusterId,
    },
    /// Operator: the directory of one node was given to another.
    #[error("this directory is of node {identity}, node-id says {given}: give it its own directory")]
    OtherNode {
        /// In IDENTITY.
        identity: NodeId,
        /// In the settings.
        given: NodeId,
    },
    /// Operator: the list of founders, or the name, is not the one that this node was made with.
    #[error(
        "this directory is of cluster {identity}, initial-cluster and cluster-name say {given}: give those that it was made with"
    )]
    OtherFounders {
        /// In IDENTITY.
        identity: ClusterId,
        /// Of the settings.
        given: ClusterId,
    },
    /// Operator: the node does not know where the others are, and how they reach it.
    #[error("this node is one of {members}: give --node-id, --peer-listen and --initial-cluster as it was made with")]
    OneOfSeveral {
        /// Members of its cluster.
        members: usize,
    },
    /// Damage: entries that the state needs are gone from the log.
    #[error("the state is at index {applied}, behind the log, which begins after {compacted}: this is an older state/")]
    StateBehindLog {
        /// Of the state.
        applied: Index,
        /// Of the log.
        compacted: Index,
    },
    /// Damage: entries that were applied are gone from the log.
    #[error("the state is at index {applied}, ahead of the log, which ends at {last}: this is an older log/")]
    StateAheadOfLog {
        /// Of the state.
        applied: Index,
        /// Of the log.
        last: Index,
    },
    /// Damage: the state comes from another history, or its record was forged before there was a keyring to sign it.
    #[error(
        "the state is at index {index} of term {state}, the log has that entry in term {log}: one of the two is of another history"
    )]
    OtherHistory {
        /// Of the state.
        index: Index,
        /// In the state.
        state: Term,
        /// In the log.
        log: Term,
    },
    /// Damage or forgery: a node with keys makes those of the cluster before it takes a client's command.
    #[error(
        "the state at index {applied} says that clients wrote before there were keys, which a node with a KEK lets nobody do"
    )]
    ClientsBeforeKeys {
        /// Of the state.
        applied: Index,
    },
    /// Operator: an older state, or an older log, was put back (NO-WAY-DOWN).
    #[error("the log knows cutover {}, the state at index {applied} knows {}: an older copy of one was put back", Known(*log), Known(*state))]
    Cutover {
        /// Of the log.
        log: Index,
        /// Of the keyring.
        state: Index,
        /// Of the state.
        applied: Index,
    },
}

impl Disagreement {
    /// Who must act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Disagreement::OtherCluster { .. }
            | Disagreement::OtherNode { .. }
            | Disagreement::OtherFounders { .. }
            | Disagreement::OneOfSeveral { .. }
            | Disagreement::Cutover { .. } => Blame::Config,
            Disagreement::StateBehindLog { .. }
            | Disagreement::StateAheadOfLog { .. }
            | Disagreement::ClientsBeforeKeys { .. }
            | Disagreement::OtherHistory { .. } => Blame::Damage,
        }
    }
}

/// Compares what a start has read.
///
/// A cutover is durable in the log before the step of the store that makes it true, so the log may know one that the
/// state has not reached; never the reverse.
///
/// # Errors
/// [`Disagreement`]: the node must not start, nothing was changed.
pub fn check(
    identity: &Identity,
    applied: &Applied,
    keyring: Option<&Keyring>,
    log: &LogFacts,
) -> Result<(), Disagreement> {
    let keyring_cluster = keyring.map(Keyring::cluster);
    for state in [Some(applied.cluster), keyring_cluster].into_iter().flatten() {
        if state != identity.cluster {
            return Err(Disagreement::OtherCluster { state, identity: identity.cluster });
        }
    }
    let index = applied.position.index;
    if index < log.compacted {
        return Err(Disagreement::StateBehindLog { applied: index, compacted: log.compacted });
    }
    if index > log.last {
        return Err(Disagreement::StateAheadOfLog { applied: index, last: log.last });
    }
    let state = keyring.map_or(Index::NEVER, Keyring::cutover);
    let is_not_reached = state == Index::NEVER && index < log.cutover;
    if state != log.cutover && !is_not_reached {
        return Err(Disagreement::Cutover { log: log.cutover, state, applied: index });
    }
    Ok(())
}

/// Compares who this node is with what its settings say.
///
/// # Errors
/// [`Disagreement`]: the node must not start, nothing was changed.
pub fn check_settings(identity: &Identity, given: Option<(NodeId, ClusterId)>) -> Result<(), Disagreement> {
    let Some((node, cluster)) = given else { return Ok(()) };
    if node != identity.node {
        return Err(Disagreement::OtherNode { identity: identity.node, given: node });
    }
    if cluster != identity.cluster {
        return Err(Disagreement::OtherFounders { identity: identity.cluster, given: cluster });
    }
    Ok(())
}

/// Whether a node of several was told so.
///
/// # Errors
/// [`Disagreement::OneOfSeveral`].
pub fn check_members(identity: &Identity, applied: &Applied, is_told: bool) -> Result<(), Disagreement> {
    if is_told || applied.members.is_alone(identity.node) {
        return Ok(());
    }
    Err(Disagreement::OneOfSeveral { members: applied.addresses.len() })
}

/// Compares the term of the state's position with that of the same entry in the log, once [`check`] has passed.
///
/// # Errors
/// [`Disagreement::OtherHistory`].
pub fn check_history(applied: Position, log: Term) -> Result<(), Disagreement> {
    if applied.term == log {
        return Ok(());
    }
    Err(Disagreement::OtherHistory { index: applied.index, state: applied.term, log })
}

/// Whether the state can be true about clients that wrote before there were keys. Nothing signs it yet, and the proposer
/// believes it: it would leave names readable for ever.
///
/// A node with a KEK founded its cluster with it, since no node joins another's cluster yet.
///
/// # Errors
/// [`Disagreement::ClientsBeforeKeys`].
pub fn check_clients(applied: &Applied, has_kek: bool) -> Result<(), Disagreement> {
    if has_kek && applied.keyring_digest.is_none() && applied.client_command_applied {
        return Err(Disagreement::ClientsBeforeKeys { applied: applied.position.index });
    }
    Ok(())
}

/// Commit at start, once [`check`] has passed: at least what is applied, never beyond the log.
#[must_use]
pub fn commit(applied: Index, log: &LogFacts) -> Index {
    let commit = log.last.min(log.commit.max(log.compacted).max(applied));
    assert!(applied <= commit, "checked before: the state lies within the log");
    commit
}

/// A cutover in words.
struct Known(Index);

impl std::fmt::Display for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Index::NEVER => f.write_str("none"),
            index => index.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::exit::Blame;
    use crate::keys::tests::kit::CLEAR_NAMES;
    use crate::keys::tests::kit::CLUSTER;
    use crate::keys::tests::kit::keyring_new;
    use crate::members::Members;

    fn identity() -> Identity {
        Identity { node: NodeId::new(7).unwrap(), cluster: CLUSTER, log_slots: 8 }
    }

    fn applied(index: u64) -> Applied {
        let mut applied = Applied::founding(CLUSTER, CLEAR_NAMES, Members::founders(&[identity().node]), Vec::new());
        applied.position.index = Index(index);
        applied
    }

    fn log(compacted: u64, last: u64, cutover: Index) -> LogFacts {
        LogFacts { compacted: Index(compacted), last: Index(last), commit: Index(0), cutover }
    }

    #[test]
    fn state_must_lie_within_the_log() {
        let check = |index, log| check(&identity(), &applied(index), None, &log);
        for index in [5, 6, 9] {
            assert_eq!(check(index, log(5, 9, Index::NEVER)), Ok(()));
        }
        let behind = check(4, log(5, 9, Index::NEVER)).unwrap_err();
        let ahead = check(10, log(5, 9, Index::NEVER)).unwrap_err();
        assert!(matches!(behind, Disagreement::StateBehindLog { .. }));
        assert!(matches!(ahead, Disagreement::StateAheadOfLog { .. }));
        assert_eq!((behind.blame(), ahead.blame()), (Blame::Damage, Blame::Damage));
    }

    #[test]
    fn state_of_another_history_than_the_log_is_refused() {
        let at = Position { term: Term(3), index: Index(5) };
        assert_eq!(check_history(at, Term(3)), Ok(()));
        for term in [Term(2), Term(4)] {
            let error = check_history(at, term).unwrap_err();
            assert!(matches!(error, Disagreement::OtherHistory { .. }));
            assert_eq!(error.blame(), Blame::Damage);
        }
    }

    #[test]
    fn state_of_another_cluster_is_refused() {
        let mut other = applied(5);
        other.cluster = ClusterId([1; 16]);
        let error = check(&identity(), &other, None, &log(1, 9, Index::NEVER)).unwrap_err();
        assert!(matches!(error, Disagreement::OtherCluster { .. }));
        assert_eq!(error.blame(), Blame::Config);
        let elsewhere = Identity { cluster: ClusterId([1; 16]), ..identity() };
        assert!(check(&elsewhere, &other, Some(&keyring_new()), &log(1, 9, Index(3))).is_err());
    }

    /// NO-WAY-DOWN: neither log nor state can forget a cutover that the other knows to be reached.
    #[test]
    fn cutover_that_log_and_state_know_differently_is_refused() {
        let sealed = keyring_new();
        let check = |index, keyring, cutover| check(&identity(), &applied(index), keyring, &log(1, 9, cutover));
        assert_eq!(check(5, Some(&sealed), Index(3)), Ok(()));
        assert_eq!(check(2, None, Index(3)), Ok(()), "the log knows it first");
        assert_eq!(check(5, None, Index::NEVER), Ok(()));
        for (index, keyring, cutover) in [
            (3, None, Index(3)),
            (5, None, Index(3)),
            (5, Some(&sealed), Index(4)),
            (5, Some(&sealed), Index(7)),
            (5, Some(&sealed), Index::NEVER),
        ] {
            let error = check(index, keyring, cutover).unwrap_err();
            assert!(matches!(error, Disagreement::Cutover { .. }), "{error}");
            assert_eq!(error.blame(), Blame::Config);
        }
    }

    #[test]
    fn settings_of_another_node_or_cluster_are_refused() {
        let (node, other) = (identity().node, NodeId::new(8).unwrap());
        assert_eq!(check_settings(&identity(), None), Ok(()));
        assert_eq!(check_settings(&identity(), Some((node, CLUSTER))), Ok(()));
        let refused =
            [(other, CLUSTER), (node, ClusterId([1; 16]))].map(|given| check_settings(&identity(), Some(given)));
        assert!(matches!(refused[0], Err(Disagreement::OtherNode { .. })));
        assert!(matches!(refused[1], Err(Disagreement::OtherFounders { .. })));
        assert!(refused.iter().all(|refused| refused.unwrap_err().blame() == Blame::Config));
        let mut several = applied(5);
        assert_eq!(check_members(&identity(), &several, false), Ok(()));
        several.members = Members::founders(&[node, other]);
        assert_eq!(check_members(&identity(), &several, true), Ok(()));
        assert!(matches!(check_members(&identity(), &several, false), Err(Disagreement::OneOfSeveral { .. })));
    }

    #[test]
    fn clients_that_wrote_before_the_keys_of_a_node_with_a_kek_are_refused() {
        let mut early = applied(5);
        assert_eq!(check_clients(&early, true), Ok(()));
        early.client_command_applied = true;
        assert_eq!(check_clients(&early, false), Ok(()), "without keys everybody writes before them");
        let error = check_clients(&early, true).unwrap_err();
        assert_eq!(error.blame(), Blame::Damage);
        early.keyring_digest = Some([0; 32]);
        assert_eq!(check_clients(&early, true), Ok(()));
    }

    #[test]
    fn commit_at_start_is_at_least_applied_and_never_beyond_the_log() {
        let with = |commit| LogFacts { commit: Index(commit), ..log(5, 9, Index::NEVER) };
        assert_eq!(commit(Index(6), &with(0)), Index(6));
        assert_eq!(commit(Index(6), &with(8)), Index(8));
        assert_eq!(commit(Index(6), &with(20)), Index(9));
        assert_eq!(commit(Index(5), &with(0)), Index(5));
    }
}
