//! `andon resume`: the one way from PAUSED back (R7), after a look at what would go on.

use andon::CampaignId;
use clap::Args;
use serde_json::json;

use super::{ClientArgs, Exit, Failure, ReasonArg, Result, explain_next, output, reason_body};
use crate::client::{Client, Posting, Preview, Resumed};

/// What `andon resume` is told.
#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// A campaign to hold back: it stays PAUSED
    #[arg(long, value_name = "CAMPAIGN")]
    keep: Vec<CampaignId>,
    #[command(flatten)]
    pub(super) client: ClientArgs,
    #[command(flatten)]
    reason: ReasonArg,
}

/// Shows the preview, asks, and resumes with the version that was shown (R11).
pub(super) async fn run(args: ResumeArgs) -> Result {
    let client = args.client.client()?;
    let preview: Preview = client
        .get("api/v1/queue-management/resume-preview", &[(); 0])
        .await?
        .read()?;
    if !args.client.json.json {
        show(&preview, &args.keep);
    }
    if !args.yes {
        confirm(&preview, &args)?;
    }
    send(&client, &preview, &args).await
}

/// What would go on, on standard error: the answer stands on standard output alone.
fn show(preview: &Preview, keep: &[CampaignId]) {
    let total = preview
        .campaigns_total
        .unwrap_or(preview.campaigns_to_resume.len() as u64);
    output::note(format!(
        "A resume would set going {total} campaigns with {} jobs (version {}):",
        preview.jobs_to_resume, preview.version
    ));
    for campaign in &preview.campaigns_to_resume {
        let kept = if keep.contains(&campaign.id) {
            "  kept back: "
        } else {
            "  "
        };
        let causes = output::causes(&campaign.causes).join(" ← ");
        output::note(format!(
            "{kept}{} {} — {causes}",
            campaign.id, campaign.name
        ));
    }
    if total > preview.campaigns_to_resume.len() as u64 {
        output::note("  … and more: andon campaigns list --status PAUSED");
    }
}

fn confirm(preview: &Preview, args: &ResumeArgs) -> Result {
    if !preview.can_resume && !preview.blockers.is_empty() {
        return Err(blocked(preview));
    }
    if args.client.json.json || !output::can_ask() {
        return Err(Failure::usage(
            "resume asks before it does anything, and there is no terminal to ask on",
        )
        .next("pass --yes to resume without being asked"));
    }
    match output::ask("Resume the queue? [y/N]").as_deref() {
        Some("y" | "Y" | "yes") => Ok(()),
        _ => Err(Failure::new(Exit::Other, "nothing was resumed")),
    }
}

/// R8, as the preview shows it; the server refuses in the same words.
fn blocked(preview: &Preview) -> Failure {
    let named: Vec<String> = preview
        .blockers
        .iter()
        .map(|blocker| format!("{} ({})", blocker.service, blocker.circuit_state))
        .collect();
    let mut failure = Failure::new(
        Exit::Refused,
        format!(
            "a resume would be refused: not closed are the circuit breakers {}",
            named.join(", ")
        ),
    );
    failure.next = explain_next::resets(
        preview
            .blockers
            .iter()
            .map(|blocker| blocker.service.clone()),
    );
    failure
}

async fn send(client: &Client, preview: &Preview, args: &ResumeArgs) -> Result {
    let reason = if args.yes {
        args.reason.reason.clone()
    } else {
        args.reason.get(args.client.json)
    };
    let mut body = reason_body(reason.as_deref());
    if !args.keep.is_empty() {
        body["keep"] = json!(args.keep);
    }
    let posting = Posting {
        if_match: Some(preview.version),
        ..Posting::default()
    };
    let answer = client
        .post("api/v1/queue-management/resume-queue", &body, &posting)
        .await?;
    if args.client.json.json {
        output::document(&answer.data);
        return Ok(());
    }
    let resumed: Resumed = answer.read()?;
    output::say(if resumed.message.is_empty() {
        format!(
            "the queue is ACTIVE: {} campaigns and {} jobs go on",
            resumed.campaigns_resumed, resumed.jobs_resumed
        )
    } else {
        resumed.message
    });
    Ok(())
}
