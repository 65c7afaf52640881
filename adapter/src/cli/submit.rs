//! `andon submit FILE`: a campaign from a file, one job a line.
//!
//! **The same file again adds nothing.** The campaign of a file is the one with the same name whose
//! metadata holds the digest of the file's jobs (`metadata.submit.sha256`), and each job's unique key
//! is made of its line's number and content (R29). So a submit that was interrupted goes on where it
//! was, and one that was done is answered with the campaign that is there. Another `--name` makes
//! another campaign of the same file.
//!
//! The campaign is open-ended until all lines are in, so that adding may go on however often it is
//! interrupted, and closed then: a closed one has them all (R27, R28).

mod lines;
mod progress;

use std::path::PathBuf;

use andon::{CampaignId, ServiceName};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{ClientArgs, Exit, Failure, Result, output};
use crate::client::{self, Campaign, Client, Page, Posting, Status};
use crate::wire::NewJob;
use lines::Line;
use progress::Progress;

/// What `andon submit` is told.
#[derive(Debug, Args)]
pub(super) struct SubmitArgs {
    /// JSON Lines, or CSV with a header; `-` reads standard input
    file: PathBuf,
    /// The campaign's name
    #[arg(long)]
    name: String,
    /// The service of lines that name none; given more than once: those that lines may name
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<ServiceName>,
    /// The file's format [default: by its name, else jsonl]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Start the campaign when all lines are in (the default)
    #[arg(long, overrides_with = "no_start")]
    start: bool,
    /// Leave the campaign CREATED
    #[arg(long)]
    no_start: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One JSON object a line
    Jsonl,
    /// Comma-separated values with a header
    Csv,
}

/// How many jobs go into one request.
const BATCH_JOBS: usize = 1000;

/// How large a request's jobs are together, in bytes; requests are limited to 16 MiB.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// How many bad lines are named.
const BAD_LINES_SHOWN: usize = 20;

/// What became of a file.
#[derive(Debug, Default)]
struct Tally {
    added: u64,
    existed: u64,
}

/// Checks every line, then finds or creates the campaign, adds what is missing, and starts it.
pub(super) async fn run(args: SubmitArgs) -> Result {
    let client = args.client.client()?;
    let text = lines::read_text(&args.file)?;
    let status: Status = client
        .get("api/v1/queue-management/status", &[(); 0])
        .await?
        .read()?;
    let rules = lines::Rules {
        known: status.circuit_breakers.into_keys().collect(),
        services: args.services.iter().map(ToString::to_string).collect(),
    };
    let is_csv = match args.format {
        Some(format) => format == Format::Csv,
        None => args.file.extension().is_some_and(|end| end == "csv"),
    };
    let lines = lines::parse(&text, is_csv, &rules).map_err(|bad| bad_file(&args, &bad))?;
    let digest = digest(&lines);
    let campaign = match find(&client, &args.name, &digest).await? {
        Some(campaign) => campaign,
        None => create(&client, &args, &digest, lines.len()).await?,
    };
    let tally = if campaign.open_ended {
        add(&client, &campaign, &lines).await?
    } else {
        complete(&campaign, &lines)?
    };
    let campaign = start(&client, campaign.id, args.no_start).await?;
    report(&args, &campaign, &lines, &tally);
    Ok(())
}

fn bad_file(args: &SubmitArgs, bad: &[lines::BadLine]) -> Failure {
    let mut failure = Failure::usage(format!(
        "{}: nothing was added: {} of its lines cannot be jobs",
        args.file.display(),
        bad.len()
    ));
    for line in bad.iter().take(BAD_LINES_SHOWN) {
        failure = failure.next(format!("line {}: {}", line.number, line.problem));
    }
    if bad.len() > BAD_LINES_SHOWN {
        failure = failure.next(format!("… and {} more", bad.len() - BAD_LINES_SHOWN));
    }
    let named: Vec<Value> = bad
        .iter()
        .map(|line| json!({"line": line.number, "problem": line.problem}))
        .collect();
    failure.document["lines"] = named.into();
    failure
}

/// The digest of all jobs, with their unique keys: white space and the order of fields do not matter.
fn digest(lines: &[Line]) -> String {
    use std::fmt::Write as _;
    let mut hash = Sha256::new();
    for line in lines {
        hash.update(lines::canonical(&line.job));
        hash.update(b"\n");
    }
    hash.finalize()
        .iter()
        .fold(String::new(), |mut text, byte| {
            // Writing to a string does not fail.
            let _infallible = write!(text, "{byte:02x}");
            text
        })
}

/// The campaign of this file, if there is one.
async fn find(client: &Client, name: &str, digest: &str) -> Result<Option<Campaign>> {
    let mut query = vec![("q", name.to_owned()), ("per_page", "200".to_owned())];
    loop {
        let page: Page<Campaign> = client.get("api/v1/campaigns", &query).await?.read()?;
        let is_same = |campaign: &Campaign| {
            campaign.name == name && campaign.metadata["submit"]["sha256"] == digest
        };
        if let Some(found) = page.items.into_iter().find(is_same) {
            return Ok(Some(found));
        }
        let Some(cursor) = page.next_cursor else {
            return Ok(None);
        };
        query.truncate(2);
        query.push(("after", cursor));
    }
}

/// Creates the campaign of this file. The idempotency key is the file's, so that two who submit the
/// same file at once make one campaign.
async fn create(
    client: &Client,
    args: &SubmitArgs,
    digest: &str,
    lines: usize,
) -> Result<Campaign> {
    let file = args
        .file
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let body = json!({
        "name": args.name,
        "open_ended": true,
        "metadata": {"submit": {"file": file, "sha256": digest, "lines": lines}},
    });
    let of_file = Posting {
        if_match: None,
        idempotency_key: format!("submit-{}", text_digest(&format!("{body}"))),
    };
    let answer = client.post("api/v1/campaigns", &body, &of_file).await?;
    let created = read_campaign(&answer.data)?;
    if !answer.is_replayed {
        return Ok(created);
    }
    // Created before, and not found: by another submit just now, or it was deleted since.
    match get(client, created.id).await {
        Ok(campaign) => Ok(campaign),
        Err(client::Error::Problem(problem)) if problem.status == 404 => {
            let again = client
                .post("api/v1/campaigns", &body, &Posting::default())
                .await?;
            read_campaign(&again.data)
        }
        Err(error) => Err(error.into()),
    }
}

fn text_digest(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    uuid::Uuid::from_slice(hash.get(..16).unwrap_or_default())
        .unwrap_or_default()
        .to_string()
}

async fn get(client: &Client, id: CampaignId) -> client::Result<Campaign> {
    let answer = client
        .get(&format!("api/v1/campaigns/{id}"), &[(); 0])
        .await?;
    answer.read()
}

fn read_campaign(data: &Value) -> Result<Campaign> {
    serde_json::from_value(data.get("campaign").unwrap_or(data).clone())
        .map_err(|error| Failure::new(Exit::Other, format!("the answer cannot be read: {error}")))
}

/// Adds all lines, batch by batch, and closes the campaign. Lines that are there already add nothing.
async fn add(client: &Client, campaign: &Campaign, lines: &[Line]) -> Result<Tally> {
    let path = format!("api/v1/campaigns/{}/jobs", campaign.id);
    let mut tally = Tally::default();
    let progress = Progress::new(lines.len());
    for batch in batches(lines) {
        let jobs: Vec<&NewJob> = batch.iter().map(|line| &line.job).collect();
        let answer = client
            .post(&path, &json!({"jobs": jobs}), &Posting::default())
            .await
            .map_err(|error| interrupted(error, &tally, lines.len()))?;
        let outcomes = answer
            .read::<client::AddedJobs>()?
            .jobs
            .into_iter()
            .map(|job| job.outcome);
        for outcome in outcomes {
            match outcome.as_str() {
                "added" => tally.added += 1,
                _ => tally.existed += 1,
            }
        }
        progress.reached(usize::try_from(tally.added + tally.existed).unwrap_or(usize::MAX));
    }
    progress.finish();
    client
        .post(
            &format!("api/v1/campaigns/{}/close", campaign.id),
            &json!({"reason": "all lines of the file are in"}),
            &Posting::default(),
        )
        .await?;
    Ok(tally)
}

fn interrupted(error: client::Error, tally: &Tally, lines: usize) -> Failure {
    let done = tally.added + tally.existed;
    Failure::from(error).next(format!(
        "{done} of {lines} lines are in, and nothing was started: the same command goes on from there"
    ))
}

/// Batches that no limit of a request refuses.
fn batches(lines: &[Line]) -> Vec<&[Line]> {
    let mut batches = Vec::new();
    let mut rest = lines;
    while !rest.is_empty() {
        let mut bytes = 0usize;
        let fits = rest
            .iter()
            .take(BATCH_JOBS)
            .take_while(|line| {
                bytes = bytes.saturating_add(line.bytes);
                bytes <= BATCH_BYTES
            })
            .count()
            .max(1);
        let (batch, after) = rest.split_at(fits);
        batches.push(batch);
        rest = after;
    }
    batches
}

/// A campaign that is closed has all its lines, unless it is not one that `submit` has closed.
fn complete(campaign: &Campaign, lines: &[Line]) -> Result<Tally> {
    let (jobs, lines) = (campaign.jobs(), lines.len() as u64);
    if campaign.status == "CANCELLED" {
        return Err(Failure::new(
            Exit::Refused,
            format!("campaign {} of this file was cancelled", campaign.id),
        )
        .next("submit the file under another --name to make its calls again"));
    }
    if jobs < lines {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "campaign {} was closed by hand when {jobs} of {lines} lines were in",
                campaign.id
            ),
        )
        .next("submit the file under another --name"));
    }
    Ok(Tally {
        added: 0,
        existed: lines,
    })
}

/// Starts the campaign if it still waits for that.
async fn start(client: &Client, id: CampaignId, no_start: bool) -> Result<Campaign> {
    let campaign = get(client, id).await?;
    if no_start || campaign.status != "CREATED" {
        return Ok(campaign);
    }
    client
        .post(
            &format!("api/v1/campaigns/{id}/start"),
            &json!({}),
            &Posting::default(),
        )
        .await
        .map_err(|error| {
            Failure::from(error)
                .next(format!(
                    "all lines are in campaign {id}, which is not started"
                ))
                .next(format!("when the line goes on: andon campaigns start {id}"))
        })?;
    Ok(get(client, id).await?)
}

fn report(args: &SubmitArgs, campaign: &Campaign, lines: &[Line], tally: &Tally) {
    if args.client.json.json {
        output::document(&json!({
            "campaign_id": campaign.id,
            "name": campaign.name,
            "status": campaign.status,
            "lines": lines.len(),
            "added": tally.added,
            "existed": tally.existed,
        }));
        return;
    }
    let added = match (tally.added, tally.existed) {
        (0, _) => "nothing added: all lines were there already".to_owned(),
        (added, 0) => format!("{added} jobs added"),
        (added, existed) => format!("{added} jobs added, {existed} were there already"),
    };
    output::say(format!(
        "campaign {} {}: {added}",
        campaign.id, campaign.status
    ));
}
