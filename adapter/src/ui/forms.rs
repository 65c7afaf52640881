//! The forms of the screen: what a person can do, with the reason asked, and what the page had seen
//! sent along.

use andon::{CampaignId, Epoch, JobId, ServiceName};
use askama::Template;
use askama::filters::HtmlSafe;
use uuid::Uuid;

use super::page::Visit;
use super::show::in_path;
use crate::ops::auth;

/// What a person can do to a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CampaignAct {
    /// R5, R6.
    Pause,
    /// R20.
    Start,
    /// R27.
    Cancel,
    /// R27, R28.
    Close,
    /// R26.
    RetryFailed,
}

/// What a person can do to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobAct {
    /// R4.
    Pause,
    /// R26.
    Cancel,
    /// R26.
    Retry,
    /// R24, by hand.
    ExpireLease,
}

/// What a person can do on the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// R5: pulls the cord.
    PauseQueue,
    /// R7–R11.
    ResumeQueue,
    /// Takes the stop of this epoch in hand. It resumes nothing.
    Acknowledge(Epoch),
    /// R12: closes one breaker. It resumes nothing.
    Reset(ServiceName),
    /// R5: opens one breaker by hand.
    Open(ServiceName),
    /// To a campaign.
    Campaign(CampaignId, CampaignAct),
    /// To a job.
    Job(JobId, JobAct),
}

impl Act {
    /// Where its form is sent. The ends are those of the API's paths: one table says who may.
    pub(super) fn path(&self) -> String {
        match self {
            Self::PauseQueue => "/queue/pause-queue".into(),
            Self::ResumeQueue => "/queue/resume-queue".into(),
            Self::Acknowledge(epoch) => format!("/queue/stops/{epoch}/acknowledge"),
            Self::Reset(service) => format!("/services/{}/reset", in_path(service.as_str())),
            Self::Open(service) => format!("/services/{}/pause-service", in_path(service.as_str())),
            Self::Campaign(id, act) => {
                let end = match act {
                    CampaignAct::Pause => "pause",
                    CampaignAct::Start => "start",
                    CampaignAct::Cancel => "cancel",
                    CampaignAct::Close => "close",
                    CampaignAct::RetryFailed => "retry-failed",
                };
                format!("/campaigns/{id}/{end}")
            }
            Self::Job(id, act) => {
                let end = match act {
                    JobAct::Pause => "pause",
                    JobAct::Cancel => "cancel",
                    JobAct::Retry => "retry",
                    JobAct::ExpireLease => "expire-lease",
                };
                format!("/jobs/{id}/{end}")
            }
        }
    }

    /// Whether it only stops something: then it is carried out however old the page is. Pulling the
    /// cord is never made hard.
    pub(super) fn only_stops(&self) -> bool {
        matches!(
            self,
            Self::PauseQueue
                | Self::Open(_)
                | Self::Campaign(_, CampaignAct::Pause)
                | Self::Job(_, JobAct::Pause)
        )
    }

    /// What its button says.
    fn label(&self) -> String {
        match self {
            Self::PauseQueue => "Pause the queue".into(),
            Self::ResumeQueue => "Resume the queue".into(),
            Self::Acknowledge(_) => "I have it in hand".into(),
            Self::Reset(service) => format!("Reset {service}"),
            Self::Open(service) => format!("Open {service}"),
            Self::Campaign(_, CampaignAct::Pause) => "Pause this campaign".into(),
            Self::Campaign(_, CampaignAct::Start) => "Start this campaign".into(),
            Self::Campaign(_, CampaignAct::Cancel) => "Cancel this campaign".into(),
            Self::Campaign(_, CampaignAct::Close) => "Close this campaign".into(),
            Self::Campaign(_, CampaignAct::RetryFailed) => "Retry its failed jobs".into(),
            Self::Job(_, JobAct::Pause) => "Pause this job".into(),
            Self::Job(_, JobAct::Cancel) => "Cancel this job".into(),
            Self::Job(_, JobAct::Retry) => "Retry this job".into(),
            Self::Job(_, JobAct::ExpireLease) => "Expire its lease".into(),
        }
    }

    /// What it does and does not do, beside the button.
    fn note(&self) -> &'static str {
        match self {
            Self::PauseQueue => "Stops the whole line at once. Only a person's resume goes on.",
            Self::ResumeQueue => "Sets everything listed above going again.",
            Self::Acknowledge(_) => {
                "Ends the reminders of this stop. It does not resume the queue."
            }
            Self::Reset(_) => "Closes this breaker. It does not resume the queue.",
            Self::Open(_) => "Opens this breaker and holds it: the whole line pauses.",
            Self::Campaign(_, CampaignAct::Pause) => "Only resume queue sets it going again.",
            Self::Campaign(_, CampaignAct::Start) => "Its jobs may be claimed from then on.",
            Self::Campaign(_, CampaignAct::Cancel) => {
                "Cancels every unfinished job of it. This cannot be undone."
            }
            Self::Campaign(_, CampaignAct::Close) => "No more jobs can be added to it.",
            Self::Campaign(_, CampaignAct::RetryFailed) => "Sends its failed jobs back to be done.",
            Self::Job(_, JobAct::Pause) => "Its whole campaign pauses with it.",
            Self::Job(_, JobAct::Cancel) => "The other jobs of its campaign go on.",
            Self::Job(_, JobAct::Retry) => "Sends it back to be done, from its first attempt.",
            Self::Job(_, JobAct::ExpireLease) => {
                "Takes it from its worker. A call that is under way may be made once more."
            }
        }
    }

    /// The reasons that people usually have for it.
    fn usual_reasons(&self) -> &'static [&'static str] {
        match self {
            Self::PauseQueue => &[
                "Something looks wrong",
                "A vendor announced an outage",
                "Maintenance",
                "Costs or quota",
            ],
            Self::ResumeQueue => &[
                "The cause is fixed",
                "The service answers again",
                "It was a false alarm",
                "Maintenance is over",
            ],
            Self::Acknowledge(_) => &[
                "I am looking into it",
                "The vendor is at it",
                "It is planned",
            ],
            Self::Reset(_) => &[
                "The service answers again",
                "Key or quota is renewed",
                "It was a false alarm",
            ],
            Self::Open(_) => &[
                "The service looks broken",
                "The vendor announced an outage",
                "Costs or quota",
            ],
            Self::Campaign(_, CampaignAct::Start) => &["It is ready", "As planned"],
            Self::Campaign(_, CampaignAct::Close) => &["All its jobs are added"],
            Self::Campaign(_, CampaignAct::RetryFailed) | Self::Job(_, JobAct::Retry) => {
                &["The cause is fixed", "Worth another try"]
            }
            Self::Job(_, JobAct::ExpireLease) => {
                &["Its worker hangs", "Its worker's machine is gone"]
            }
            Self::Campaign(_, CampaignAct::Pause | CampaignAct::Cancel)
            | Self::Job(_, JobAct::Pause | JobAct::Cancel) => &[
                "Its data is wrong",
                "Something looks wrong",
                "It is no longer needed",
            ],
        }
    }

    /// Whether a mistake with it is costly: its button says so by its look.
    fn is_grave(&self) -> bool {
        matches!(
            self,
            Self::PauseQueue
                | Self::Open(_)
                | Self::Campaign(_, CampaignAct::Pause | CampaignAct::Cancel)
                | Self::Job(_, JobAct::Pause | JobAct::Cancel | JobAct::ExpireLease)
        )
    }
}

/// A form that was refused: what was typed into it, and why.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    /// The form's path.
    pub(super) path: String,
    /// Why, in the refusal's words.
    pub(super) detail: String,
    /// What has changed since its page was loaded, if that is why.
    pub(super) since: Vec<String>,
    /// The usual reason that was chosen.
    pub(super) usual: String,
    /// What was typed.
    pub(super) typed: String,
    /// The campaigns that were to be kept back.
    pub(super) keep: Vec<String>,
}

/// One usual reason.
#[derive(Debug, Clone)]
struct Usual {
    words: &'static str,
    is_chosen: bool,
}

/// A form as it is shown.
#[derive(Debug, Clone, Template)]
#[template(path = "act_form.html")]
pub(super) struct ActForm {
    /// Its element's identifier, which other fields may name as theirs.
    pub(super) id: String,
    path: String,
    label: String,
    note: &'static str,
    is_grave: bool,
    version: u64,
    seen: i64,
    nonce: String,
    back: String,
    usual: Vec<Usual>,
    refused: Option<Refused>,
    /// Why it cannot be used now.
    disabled: Option<String>,
}

impl HtmlSafe for ActForm {}

impl ActForm {
    /// The same, which cannot be used now unless there is nothing to say against it.
    pub(super) fn unless(self, why_not: Option<String>) -> Self {
        Self {
            disabled: self.disabled.or(why_not),
            ..self
        }
    }

    /// Whether it has just been refused: then it is shown, wherever it stands.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Whether this campaign was to be kept back by it.
    pub(super) fn keeps(&self, id: &str) -> bool {
        self.refused
            .as_ref()
            .is_some_and(|refused| refused.keep.iter().any(|kept| kept == id))
    }

    fn typed(&self) -> &str {
        self.refused.as_ref().map_or("", |refused| &refused.typed)
    }
}

/// What all forms of a page share.
#[derive(Debug)]
pub(super) struct Forms<'a> {
    /// Who looks, and at which page.
    pub(super) visit: &'a Visit,
    /// The line's version that the page shows (R11).
    pub(super) version: u64,
    /// The newest journal entry that the page has seen.
    pub(super) seen: i64,
}

impl Forms<'_> {
    /// The form for an act.
    pub(super) fn form(&self, act: &Act) -> ActForm {
        let path = act.path();
        let refused = self.visit.refused.as_ref();
        let refused = refused.filter(|refused| refused.path == path).cloned();
        let chosen = refused.as_ref().map_or("", |refused| &refused.usual);
        let usual = act
            .usual_reasons()
            .iter()
            .map(|words| Usual {
                words,
                is_chosen: *words == chosen,
            })
            .collect();
        ActForm {
            id: format!("act{}", path.replace(['/', '%'], "-")),
            label: act.label(),
            note: act.note(),
            is_grave: act.is_grave(),
            version: self.version,
            seen: self.seen,
            nonce: Uuid::new_v4().simple().to_string(),
            back: self.visit.here.clone(),
            usual,
            refused,
            disabled: auth::lacking(self.visit.role, &path).map(str::to_owned),
            path,
        }
    }
}
