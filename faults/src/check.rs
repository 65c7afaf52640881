//! What has to hold after each fault, read from the database and from the vendor's notes.

use std::collections::HashMap;
use std::time::Duration;

use crate::Result;
use crate::bench::{Bench, Database, Place, TTL};
use crate::patroni::Commits;
use crate::vendor::Call;

/// How long a call may take from its permit to the vendor's note, on a machine that is busy with a fault.
pub(crate) const SLACK: Duration = Duration::from_millis(250);

/// Fails with the first thing that does not hold.
pub(crate) async fn all(bench: &mut Bench) -> Result<()> {
    let (is_clean, said) = bench.audit()?;
    if !is_clean {
        return Err(format!("R32: the audit is not clean: {said}").into());
    }
    let database = &bench.database;
    let jobs = database.int("SELECT count(*) FROM andon_jobs").await?;
    if bench.place == Place::Patroni(Commits::OnOne) {
        // What a standby never had may be lost (R35); what is there must be whole all the same.
        bench.lost = bench.added().saturating_sub(u64::try_from(jobs)?);
    }
    let enqueued = i64::try_from(bench.added() - bench.lost)?;
    let same = |what: &str, found: i64, expected: i64| {
        if found == expected {
            Ok(())
        } else {
            Err(format!("{what}: {found}, and not {expected}"))
        }
    };
    same("I11: jobs", jobs, enqueued)?;
    let completed = "SELECT count(*) FROM andon_jobs WHERE stage = 'COMPLETED'";
    same(
        "I11: completed jobs",
        database.int(completed).await?,
        enqueued,
    )?;
    let endings = "SELECT count(*) FROM andon_attempts WHERE ending = 'complete'";
    same("I9: endings", database.int(endings).await?, enqueued)?;
    let ended = "SELECT count(DISTINCT job_id) FROM andon_attempts WHERE ending = 'complete'";
    same("I9: ended jobs", database.int(ended).await?, enqueued)?;
    let epoch = database.int("SELECT epoch FROM andon_queue").await?;
    same("I5, I12: the epoch", epoch, 1 + bench.resumes)?;
    let resumed = "SELECT count(*) FROM andon_journal WHERE kind = 'queue_resumed'";
    same("I5: resumes", database.int(resumed).await?, bench.resumes)?;
    calls_of_ended_jobs(bench).await?;
    late_calls(bench).await
}

/// I9: what has ended is not done again.
async fn calls_of_ended_jobs(bench: &Bench) -> Result<()> {
    let at = match &bench.database {
        Database::Postgres(_) => ENDED_AT_POSTGRES,
        Database::Sqlite(_) => ENDED_AT_SQLITE,
    };
    let (numbers, at) = (
        bench.database.ints(ENDED_NUMBERS).await?,
        bench.database.ints(at).await?,
    );
    let ended: HashMap<i64, i64> = numbers.into_iter().zip(at).collect();
    let slack = i64::try_from(SLACK.as_micros())?;
    for call in bench.vendor.calls() {
        let number = i64::try_from(call.job)?;
        if let Some(at) = ended.get(&number)
            && call.at > at + slack
        {
            let after = (call.at - at) / 1000;
            return Err(format!("I9: job {number} made a call {after} ms after its end").into());
        }
    }
    Ok(())
}

const ENDED_NUMBERS: &str = "SELECT CAST(unique_key AS bigint) FROM andon_jobs \
    JOIN andon_attempts ON job_id = id AND ending = 'complete' ORDER BY id";
const ENDED_AT_POSTGRES: &str = "SELECT (extract(epoch FROM ended_at) * 1000000)::bigint FROM andon_jobs \
    JOIN andon_attempts ON job_id = id AND ending = 'complete' ORDER BY id";
const ENDED_AT_SQLITE: &str = "SELECT ended_at FROM andon_jobs \
    JOIN andon_attempts ON job_id = id AND ending = 'complete' ORDER BY id";

/// R30: no call starts later than one time-to-live after a pause has committed.
async fn late_calls(bench: &Bench) -> Result<()> {
    let (pauses, resumes) = match &bench.database {
        Database::Postgres(_) => (COMMITTED_PAUSES, COMMITTED_RESUMES),
        Database::Sqlite(_) => (NOTED_PAUSES, NOTED_RESUMES),
    };
    let pauses = bench.database.ints(pauses).await?;
    let resumes = bench.database.ints(resumes).await?;
    let calls = bench.vendor.calls();
    let allowed = i64::try_from((TTL + SLACK).as_micros())?;
    for pause in pauses {
        let next = resumes.iter().copied().find(|resume| *resume > pause);
        let until = next.unwrap_or(i64::MAX);
        let late = |call: &&Call| call.at > pause + allowed && call.at < until;
        if let Some(late) = calls.iter().find(late) {
            let after = (late.at - pause) / 1000;
            return Err(format!("R30: a call started {after} ms after a pause").into());
        }
    }
    Ok(())
}

const COMMITTED_PAUSES: &str = "SELECT (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint \
    FROM andon_journal WHERE kind = 'queue_paused' ORDER BY seq";
const COMMITTED_RESUMES: &str = "SELECT (extract(epoch FROM at) * 1000000)::bigint \
    FROM andon_journal WHERE kind = 'queue_resumed' ORDER BY seq";
const NOTED_PAUSES: &str = "SELECT at FROM andon_journal WHERE kind = 'queue_paused' ORDER BY seq";
const NOTED_RESUMES: &str =
    "SELECT at FROM andon_journal WHERE kind = 'queue_resumed' ORDER BY seq";
