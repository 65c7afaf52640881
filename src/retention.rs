//! What retention may remove of finished work, and what is refused once it has (R26, R29, I11).
//!
//! Removed jobs stay in their campaign's counts: nothing that a rule counts changes when they go.

use crate::campaign::{AnyCampaign, CampaignStage};
use crate::ids::JobId;
use crate::job::AnyJob;
use crate::refusal::Refusal;
use crate::time::Timestamp;

/// Whether retention may remove a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Removal {
    /// It stays.
    Stays,
    /// It may go. It holds no unique key.
    Goes,
    /// It may go, and its unique key with it: its campaign takes no jobs any more, unless it is reopened.
    GoesWithItsKey,
}

/// Whether a job holds a unique key of its campaign (R29).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// It holds one.
    Held,
    /// It has none.
    None,
}

impl AnyJob {
    /// Whether retention may remove the job, which ended at `ended_at` (its own end, or that of its
    /// CANCELLED campaign): it is final by D2, no lease on it is left (R26), and it ended before `before`.
    /// A unique key is held whatever the job's stage (R29), and so for as long as its campaign takes jobs.
    pub fn judge_removal(
        &self,
        campaign: &AnyCampaign,
        key: Key,
        ended_at: Option<Timestamp>,
        before: Timestamp,
    ) -> Removal {
        let is_final = self.stage().is_final() || campaign.stage() == CampaignStage::Cancelled;
        let is_old = ended_at.is_some_and(|ended| ended < before);
        if self.campaign() != campaign.id() || !is_final || !is_old || self.holder().is_some() {
            return Removal::Stays;
        }
        match (key, campaign.stage()) {
            (Key::None, _) => Removal::Goes,
            (Key::Held, CampaignStage::Created | CampaignStage::Running) => Removal::Stays,
            (
                Key::Held,
                CampaignStage::Completed | CampaignStage::Failed | CampaignStage::Cancelled,
            ) => Removal::GoesWithItsKey,
        }
    }
}

/// R26, R29: a retry would reopen a campaign whose unique keys are not all there any more, so that its jobs
/// could spawn what has been done already.
///
/// # Errors
/// [`Refusal::KeysRemoved`].
pub fn check_retry(job: JobId, keys_removed_at: Option<Timestamp>) -> Result<(), Refusal> {
    match keys_removed_at {
        None => Ok(()),
        Some(at) => Err(Refusal::KeysRemoved { job, at }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::{CampaignRecord, Intake};
    use crate::ids::{CampaignId, SessionId, Token};
    use crate::job::{JobRecord, JobStage, Priority};

    fn job(stage: JobStage, session: Option<u128>) -> AnyJob {
        let record = JobRecord {
            id: JobId::from_u128(7),
            campaign: CampaignId::from_u128(1),
            stage,
            mark: None,
            attempt: 1,
            max_attempts: 5,
            run_at: Timestamp::from_micros(0),
            priority: Priority::default(),
            token: Token::NONE.next().unwrap(),
            session: session.map(SessionId::from_u128),
        };
        AnyJob::try_from(record).unwrap()
    }

    fn campaign(stage: CampaignStage) -> AnyCampaign {
        AnyCampaign::from(CampaignRecord {
            id: CampaignId::from_u128(1),
            stage,
            intake: Intake::OpenEnded,
            mark: None,
        })
    }

    const STAGES: [CampaignStage; 5] = [
        CampaignStage::Created,
        CampaignStage::Running,
        CampaignStage::Completed,
        CampaignStage::Failed,
        CampaignStage::Cancelled,
    ];

    #[track_caller]
    fn check(job: &AnyJob, key: Key, goes: impl Fn(CampaignStage) -> Removal) {
        let (old, before) = (Timestamp::from_micros(9), Timestamp::from_micros(10));
        for stage in STAGES {
            let campaign = campaign(stage);
            let judged = job.judge_removal(&campaign, key, Some(old), before);
            assert_eq!(judged, goes(stage), "{job:?} in a {stage:?} campaign");
            for young in [None, Some(before)] {
                let judged = job.judge_removal(&campaign, key, young, before);
                assert_eq!(judged, Removal::Stays, "it ended at {young:?}");
            }
        }
    }

    #[test]
    fn i11_an_unfinished_job_and_one_with_a_lease_stay() {
        let in_cancelled = |stage| match stage {
            CampaignStage::Cancelled => Removal::Goes,
            _ => Removal::Stays,
        };
        check(&job(JobStage::Pending, None), Key::None, in_cancelled);
        check(&job(JobStage::Processing, Some(3)), Key::None, |_| {
            Removal::Stays
        });
        check(&job(JobStage::Cancelled, Some(3)), Key::None, |_| {
            Removal::Stays
        });
    }

    #[test]
    fn r29_a_final_job_goes_and_its_key_only_with_its_campaign() {
        for stage in [JobStage::Completed, JobStage::Failed, JobStage::Cancelled] {
            check(&job(stage, None), Key::None, |_| Removal::Goes);
            check(&job(stage, None), Key::Held, |stage| match stage {
                CampaignStage::Created | CampaignStage::Running => Removal::Stays,
                _ => Removal::GoesWithItsKey,
            });
        }
    }

    #[test]
    fn r26_where_keys_are_gone_nothing_is_retried() {
        let (job, at) = (JobId::from_u128(7), Timestamp::from_micros(0));
        assert_eq!(check_retry(job, None), Ok(()));
        let refusal = check_retry(job, Some(at)).unwrap_err();
        let text = alloc::string::ToString::to_string(&refusal);
        assert!(text.contains("unique keys of its campaign"), "{text}");
        assert!(text.contains("1970"), "{text}");
    }
}
