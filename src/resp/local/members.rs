//! SEALKV MEMBER: who belongs to the cluster, and changes of that. Any node takes them; the leader does them.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::limits::MEMBER_CHANGE_DEADLINE;
use crate::resp::codec::reply::Encoder;
use crate::resp::commands::ErrorLine;
use crate::resp::local::subcommand::Subcommand;
use crate::resp::membership::ClusterMembers;
use crate::resp::membership::MemberAnswer;
use crate::resp::membership::MemberRefused;
use crate::resp::membership::MemberRequest;
use crate::resp::membership::MemberShown;
use crate::resp::shared::ServerShared;

/// SEALKV MEMBER LIST|ADD|PROMOTE|REMOVE|REPLACE|TRANSFER.
pub(super) async fn member_command(
    shared: &ServerShared,
    sub: &Subcommand<'_>,
    encoder: &mut Encoder<'_>,
) -> Result<(), ErrorLine> {
    let membership = shared.operator.membership().ok_or(ErrorLine::fixed("ERR this node has no cluster"))?;
    let request = request(sub)?;
    tracing::info!(target: "audit", ?request, "an operator asks about members");
    let deadline = Instant::now() + MEMBER_CHANGE_DEADLINE;
    match (&request, until(membership, &request, deadline).await?) {
        (_, MemberAnswer::List(members)) => {
            write_list(&members, encoder);
            return Ok(());
        }
        (_, MemberAnswer::Proposed(index)) => {
            while shared.facts.applied_index() < index {
                pause(deadline).await.map_err(|()| UNKNOWN)?;
            }
        }
        (_, MemberAnswer::MovingTo(node)) => moved(membership, deadline, |leader| leader == node).await?,
    }
    encoder.simple("OK");
    Ok(())
}

/// Asks until it is done or refused for good: what was certainly not done because of something that passes is asked again.
async fn until(
    membership: &dyn ClusterMembers,
    request: &MemberRequest,
    deadline: Instant,
) -> Result<MemberAnswer, ErrorLine> {
    loop {
        match ask(membership, request.clone(), deadline).await {
            Ok(answer) => return Ok(answer),
            Err(MemberRefused::NotNow | MemberRefused::NoLeader) if Instant::now() + PAUSE < deadline => {}
            Err(MemberRefused::LeaderItself) => {
                let leader = membership.leader();
                match ask(membership, MemberRequest::Transfer(None), deadline).await {
                    Ok(_) => moved(membership, deadline, |now| Some(now) != leader).await?,
                    Err(MemberRefused::NotNow) => {}
                    Err(refused) => return Err(line(refused)),
                }
            }
            Err(refused) => return Err(line(refused)),
        }
        pause(deadline).await.map_err(|()| line(MemberRefused::NotNow))?;
    }
}

async fn ask(
    membership: &dyn ClusterMembers,
    request: MemberRequest,
    deadline: Instant,
) -> Result<MemberAnswer, MemberRefused> {
    let (done, answer) = oneshot::channel();
    // The connection may have gone; then nobody wants to know.
    membership.ask(request, Box::new(move |result| drop(done.send(result))));
    match timeout(deadline.saturating_duration_since(Instant::now()) + PAUSE, answer).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) | Err(_) => Err(MemberRefused::Unknown),
    }
}

/// Waits until the leadership has moved.
async fn moved(
    membership: &dyn ClusterMembers,
    deadline: Instant,
    is_there: impl Fn(u64) -> bool,
) -> Result<(), ErrorLine> {
    while !membership.leader().is_some_and(&is_there) {
        pause(deadline).await.map_err(|()| NOT_MOVED)?;
    }
    Ok(())
}

async fn pause(deadline: Instant) -> Result<(), ()> {
    if Instant::now() + PAUSE >= deadline {
        return Err(());
    }
    sleep(PAUSE).await;
    Ok(())
}

fn request(sub: &Subcommand<'_>) -> Result<MemberRequest, ErrorLine> {
    if sub.count() == 0 {
        return Err(sub.arity());
    }
    let is = |name: &str, count: usize| sub.slice(0).eq_ignore_ascii_case(name.as_bytes()) && sub.count() == count;
    let node = |position: usize| {
        let text = std::str::from_utf8(sub.slice(position)).ok();
        let node = text.and_then(|text| text.parse::<u64>().ok()).filter(|node| *node > 0);
        node.ok_or(ErrorLine::fixed("ERR a node is a number from 1 on"))
    };
    if is("list", 1) {
        Ok(MemberRequest::List)
    } else if is("add", 3) {
        let address = String::from_utf8_lossy(sub.slice(2)).into_owned();
        Ok(MemberRequest::Add { node: node(1)?, address })
    } else if is("promote", 2) {
        Ok(MemberRequest::Promote(node(1)?))
    } else if is("remove", 2) {
        Ok(MemberRequest::Remove(node(1)?))
    } else if is("replace", 3) {
        Ok(MemberRequest::Replace { old: node(1)?, new: node(2)? })
    } else if is("transfer", 1) {
        Ok(MemberRequest::Transfer(None))
    } else if is("transfer", 2) {
        Ok(MemberRequest::Transfer(Some(node(1)?)))
    } else {
        Err(ErrorLine::fixed("ERR syntax error in SEALKV MEMBER. Try SEALKV HELP."))
    }
}

fn write_list(members: &[MemberShown], encoder: &mut Encoder<'_>) {
    encoder.array(members.len());
    for member in members {
        encoder.map(6);
        encoder.bulk(b"node");
        encoder.integer(i64::try_from(member.node).unwrap_or(i64::MAX));
        let words = [
            ("address", member.address.as_str()),
            ("role", role(member)),
            ("vote", if member.is_voter { "yes" } else { "no" }),
            ("state", state(member)),
        ];
        for (name, word) in words {
            encoder.bulk(name.as_bytes());
            encoder.bulk(word.as_bytes());
        }
        encoder.bulk(b"behind");
        encoder.integer(i64::try_from(member.behind).unwrap_or(i64::MAX));
    }
}

fn role(member: &MemberShown) -> &'static str {
    match (member.is_leader, member.is_voter) {
        (true, _) => "leader",
        (false, true) => "follower",
        (false, false) => "learner",
    }
}

fn state(member: &MemberShown) -> &'static str {
    match (member.is_active, member.needs_snapshot) {
        (false, _) => "silent",
        (true, true) => "snapshot",
        (true, false) => "up",
    }
}

fn line(refused: MemberRefused) -> ErrorLine {
    match refused {
        MemberRefused::NoLeader => ErrorLine::fixed("CLUSTERDOWN No leader"),
        MemberRefused::NotNow => {
            ErrorLine::fixed("TRYAGAIN another change of the members is under way, nothing was done")
        }
        MemberRefused::LeaderItself => {
            ErrorLine::fixed("ERR the leader cannot remove itself: move the leadership first")
        }
        MemberRefused::Words(words) => ErrorLine::made(format!("ERR {words}")),
        MemberRefused::Unknown => UNKNOWN,
    }
}

const PAUSE: Duration = Duration::from_millis(20);
const UNKNOWN: ErrorLine = ErrorLine::fixed("ERR it is not known yet whether this was done, SEALKV MEMBER LIST tells");
const NOT_MOVED: ErrorLine =
    ErrorLine::fixed("ERR the leadership did not move in time, SEALKV MEMBER LIST tells who leads");
