//! Reports in batches: endings share a transaction, and the order of one job's reports is kept.

use std::collections::BTreeSet;
use std::time::Duration;

use andon::{Actor, JobId, SessionId};

use super::answer::{self, Refused};
use super::convert::Ending;
use super::judged::refused_alone;
use crate::line::calls::Calls;
use crate::line::work::{self, EndingReport};
use crate::line::{Error, InvalidField, Result};
use crate::store::Tx;
use crate::wire;

/// What is done in one transaction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The call-report in this place of the batch.
    Call(usize),
    /// The endings in these places, in order.
    End(Vec<usize>),
}

/// Groups a batch: as few transactions as keep the order of one job's reports. Reports of different
/// jobs are independent, and each call-report is judged as soon as it is met.
pub(super) fn plan(reports: &[wire::ReportItem]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut endings = Vec::new();
    let mut ending_jobs = BTreeSet::new();
    for (place, item) in reports.iter().enumerate() {
        match &item.report {
            wire::Report::CallReport(_) => {
                if ending_jobs.contains(&item.job_id) {
                    steps.push(Step::End(std::mem::take(&mut endings)));
                    ending_jobs.clear();
                }
                steps.push(Step::Call(place));
            }
            wire::Report::Complete(_)
            | wire::Report::Fail(_)
            | wire::Report::Release(_)
            | wire::Report::Snooze(_) => {
                endings.push(place);
                ending_jobs.insert(item.job_id);
            }
        }
    }
    if !endings.is_empty() {
        steps.push(Step::End(endings));
    }
    steps
}

/// Refuses an empty or too large batch.
pub(super) fn check(request: &wire::ReportsRequest) -> Result<()> {
    let problem = match request.reports.len() {
        0 => "must hold at least one report",
        n if n > wire::REPORTS_MAX => "must hold at most 1000 reports: send several batches",
        _ => return Ok(()),
    };
    Err(Error::Invalid(vec![InvalidField {
        path: "reports".into(),
        problem: problem.into(),
    }]))
}

/// What one report is answered, without the gate.
#[derive(Debug)]
pub(super) enum Judged {
    Call(wire::CallVerdict),
    Ended(wire::Ended),
    Refused(Refused),
}

/// What one step of a batch has come to.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    /// Each report's place in the batch, and its answer.
    pub(super) answers: Vec<(usize, Judged)>,
    /// The sessions that held the leases.
    pub(super) sessions: Vec<SessionId>,
    /// The jobs whose report was refused.
    pub(super) refused: Vec<JobId>,
}

impl Judgement {
    /// Takes in what another step has come to.
    pub(super) fn add(&mut self, other: Self) {
        self.answers.extend(other.answers);
        self.sessions.extend(other.sessions);
        self.refused.extend(other.refused);
    }

    /// The answer to the whole batch, with the gate after it: for the session that reports, or for all
    /// that held the leases.
    pub(super) async fn answer(
        mut self,
        tx: &mut dyn Tx,
        ttl: Duration,
        request: &wire::ReportsRequest,
    ) -> Result<wire::ReportsAnswer> {
        if let Some(session) = request.worker_id {
            self.sessions = vec![session];
        }
        self.sessions.sort_unstable();
        self.sessions.dedup();
        let core = tx.gate().await?;
        let gate = answer::gate_after(tx, ttl, core, &self.sessions, &self.refused).await?;
        self.answers.sort_unstable_by_key(|(place, _)| *place);
        let answers = self
            .answers
            .into_iter()
            .zip(&request.reports)
            .map(|((_, judged), item)| wire::ReportAnswer {
                job_id: item.job_id,
                outcome: match judged {
                    Judged::Call(verdict) => wire::ReportOutcome::Call(verdict),
                    Judged::Ended(ended) => wire::ReportOutcome::Ended(ended),
                    Judged::Refused(refused) => {
                        wire::ReportOutcome::Refused(refused_alone(&refused))
                    }
                },
            })
            .collect();
        Ok(wire::ReportsAnswer { answers, gate })
    }
}

/// Judges a whole batch in one transaction.
pub(super) async fn judge_in(
    tx: &mut dyn Tx,
    calls: &Calls,
    ttl: Duration,
    caller: &Actor,
    request: &wire::ReportsRequest,
) -> Result<wire::ReportsAnswer> {
    let mut all = Judgement::default();
    for step in plan(&request.reports) {
        all.add(carry_out(tx, calls, caller, &request.reports, &step).await?);
    }
    all.answer(tx, ttl, request).await
}

/// Carries out one step of a batch. Only what the store could not do is an error of the whole batch.
pub(super) async fn carry_out(
    tx: &mut dyn Tx,
    calls: &Calls,
    caller: &Actor,
    reports: &[wire::ReportItem],
    step: &Step,
) -> Result<Judgement> {
    match step {
        Step::Call(place) => match reports.get(*place) {
            Some(item) => call(tx, calls, caller, *place, item).await,
            None => Ok(Judgement::default()),
        },
        Step::End(places) => end(tx, calls, caller, reports, places).await,
    }
}

async fn call(
    tx: &mut dyn Tx,
    calls: &Calls,
    caller: &Actor,
    place: usize,
    item: &wire::ReportItem,
) -> Result<Judgement> {
    let wire::Report::CallReport(request) = &item.report else {
        return Ok(Judgement::default());
    };
    let mut judgement = Judgement::default();
    match answer::judge_call(tx, calls, caller, item.job_id, request).await {
        Ok((verdict, session, _)) => {
            if verdict.job != wire::JobPart::Ok {
                judgement.refused.push(item.job_id);
            }
            judgement.sessions.extend(session);
            judgement.answers.push((place, Judged::Call(verdict)));
        }
        Err(error @ Error::Store(_)) => return Err(error),
        Err(error) => {
            let refused = Judged::Refused(error.into());
            judgement.answers.push((place, refused));
        }
    }
    Ok(judgement)
}

async fn end(
    tx: &mut dyn Tx,
    calls: &Calls,
    caller: &Actor,
    reports: &[wire::ReportItem],
    places: &[usize],
) -> Result<Judgement> {
    let mut judgement = Judgement::default();
    let mut endings: Vec<(usize, EndingReport)> = Vec::with_capacity(places.len());
    for place in places {
        let Some(item) = reports.get(*place) else {
            continue;
        };
        match Ending::of(&item.report).map(|ending| ending.report(item.job_id)) {
            Some(Ok(report)) => endings.push((*place, report)),
            Some(Err(error)) => {
                let refused = Judged::Refused(error.into());
                judgement.answers.push((*place, refused));
            }
            None => {}
        }
    }
    let (places, endings): (Vec<usize>, Vec<EndingReport>) = endings.into_iter().unzip();
    let (answers, sessions, gate) = work::end(tx, calls, caller, &endings).await?;
    judgement.sessions = sessions;
    for ((place, report), answer) in places.into_iter().zip(&endings).zip(answers) {
        let judged = match answer::ended(&gate, report, answer) {
            Ok(ended) => Judged::Ended(ended),
            Err(refused) => {
                judgement.refused.push(report.job);
                Judged::Refused(refused)
            }
        };
        judgement.answers.push((place, judged));
    }
    Ok(judgement)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn item(job: u128, report: serde_json::Value) -> wire::ReportItem {
        wire::ReportItem {
            job_id: JobId::from_u128(job),
            report: serde_json::from_value(report).unwrap(),
        }
    }

    fn call(job: u128) -> wire::ReportItem {
        let report =
            json!({"call_report": {"token": 1, "call": 1, "service": "s", "outcome": "success"}});
        item(job, report)
    }

    fn complete(job: u128) -> wire::ReportItem {
        item(job, json!({"complete": {"token": 1}}))
    }

    #[test]
    fn r22_endings_share_a_transaction_and_one_jobs_reports_keep_their_order() {
        let batch = [complete(1), call(2), complete(2), call(3), complete(3)];
        assert_eq!(
            plan(&batch),
            [Step::Call(1), Step::Call(3), Step::End(vec![0, 2, 4])]
        );
        let again = [complete(1), call(1), complete(2)];
        assert_eq!(
            plan(&again),
            [Step::End(vec![0]), Step::Call(1), Step::End(vec![2])]
        );
    }

    #[test]
    fn a_batch_of_reports_has_a_size() {
        let of = |reports| wire::ReportsRequest {
            worker_id: None,
            reports,
        };
        assert!(check(&of(Vec::new())).is_err());
        assert!(check(&of(vec![complete(1); 1000])).is_ok());
        assert!(check(&of(vec![complete(1); 1001])).is_err());
    }
}
