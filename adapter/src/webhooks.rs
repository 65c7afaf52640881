//! Webhooks: they tell others over HTTP that the line has stopped, that it is still stopped, and that it
//! goes on again. What is due is decided in [`crate::line::webhooks`]; here it is signed and sent.
//!
//! Messages are signed as Standard Webhooks has it: `webhook-id`, `webhook-timestamp`, and in
//! `webhook-signature` the HMAC-SHA256 over `id.timestamp.body`. A message may arrive twice, after a
//! crash or an answer that was lost; then with the same id.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::line::webhooks::{self, ATTEMPTS_MAX, Arrival, Message};
use crate::line::{Line, Result};

/// How often the line is looked at. Hints make it sooner.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long one request may take: well below the lease of a message.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How many messages one webhook is sent before others have their turn.
const MESSAGES_PER_LOOK: u32 = 20;

/// Whom to tell, and with which key. Neither is ever shown: an address may hold a key, too.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where.
    pub url: SecretString,
    /// The key: as `whsec_…` its Base64, else its bytes.
    pub secret: SecretString,
}

impl Webhook {
    /// What it is called in notes and logs: a digest of its address.
    pub fn name(&self) -> String {
        use std::fmt::Write as _;
        let digest = Sha256::digest(self.url.expose_secret());
        digest.iter().take(6).fold(String::new(), |mut name, byte| {
            // Writing to a string does not fail.
            let _infallible = write!(name, "{byte:02x}");
            name
        })
    }
}

/// The signature of a message, as `webhook-signature` carries it.
pub fn signature(secret: &SecretString, id: &str, timestamp: i64, body: &str) -> String {
    let secret = secret.expose_secret();
    let key = match secret.strip_prefix("whsec_") {
        Some(text) => BASE64_STANDARD
            .decode(text)
            .unwrap_or_else(|_| secret.as_bytes().to_vec()),
        None => secret.as_bytes().to_vec(),
    };
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else {
        return String::new();
    };
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

/// Sends messages for one server.
pub struct Sender {
    line: Line,
    webhooks: Vec<Webhook>,
    http: reqwest::Client,
    /// This server among several.
    holder: String,
}

impl Sender {
    /// A sender for this line and these webhooks.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(line: Line, webhooks: Vec<Webhook>) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            // A message that is signed for one address is not carried to another.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            line,
            webhooks,
            http,
            holder: uuid::Uuid::new_v4().to_string(),
        })
    }

    /// Tells whatever is due, again and again, until told to stop.
    pub async fn run(&self, stop: CancellationToken) {
        if self.webhooks.is_empty() {
            return;
        }
        let mut hints = self.line.store().hints();
        loop {
            let looks = async {
                futures::future::join_all(self.webhooks.iter().map(|one| self.look(one))).await;
                // A hint makes it sooner; a store that gives none any more is looked at all the same.
                let _either = tokio::time::timeout(LOOK_INTERVAL, hints.changed()).await;
            };
            if stop.run_until_cancelled(looks).await.is_none() {
                return;
            }
        }
    }

    /// Tells one webhook what is due. What fails is logged, and looked at again.
    async fn look(&self, webhook: &Webhook) {
        for _ in 0..MESSAGES_PER_LOOK {
            match self.tell_next(webhook).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::error!(webhook = webhook.name(), cause = ?error, "a webhook could not be looked after");
                    return;
                }
            }
        }
    }

    /// Tells one message, if one is due; answers whether it arrived.
    ///
    /// # Errors
    /// The store could not be read or written.
    pub async fn tell_next(&self, webhook: &Webhook) -> Result<bool> {
        let name = webhook.name();
        let key = name.clone();
        let looked = self
            .line
            .query(|tx| Box::pin(async move { webhooks::is_due(tx, &key).await }));
        if !looked.await? {
            return Ok(false);
        }
        let (key, holder) = (name.clone(), self.holder.clone());
        let taken = self.line.transact_quietly(move |tx| {
            let (key, holder) = (key.clone(), holder.clone());
            Box::pin(async move { webhooks::take(tx, &key, &holder).await })
        });
        let Some(message) = taken.await? else {
            return Ok(false);
        };
        let arrival = self.send(webhook, &message).await;
        let (key, holder) = (name.clone(), self.holder.clone());
        let settling = (message.clone(), arrival.clone());
        let settled = self.line.transact_quietly(move |tx| {
            let (key, holder) = (key.clone(), holder.clone());
            let (message, arrival) = settling.clone();
            Box::pin(async move { webhooks::settle(tx, (&key, &holder), &message, &arrival).await })
        });
        let told = settled.await?;
        if let (Arrival::Failed { error, .. }, Some(told)) = (&arrival, told) {
            let (id, attempts) = (&message.id, told.attempts);
            if attempts == 0 {
                tracing::error!(
                    webhook = name,
                    id,
                    error,
                    "a webhook's message was given up after {ATTEMPTS_MAX} attempts"
                );
            } else {
                tracing::warn!(
                    webhook = name,
                    id,
                    attempts,
                    error,
                    "a webhook's message did not arrive"
                );
            }
        }
        Ok(arrival == Arrival::Arrived)
    }

    async fn send(&self, webhook: &Webhook, message: &Message) -> Arrival {
        let body = message.body.to_string();
        let timestamp = clock::system().as_micros() / 1_000_000;
        let sent = self
            .http
            .post(webhook.url.expose_secret())
            .header("content-type", "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", timestamp)
            .header(
                "webhook-signature",
                signature(&webhook.secret, &message.id, timestamp, &body),
            )
            .body(body)
            .send()
            .await;
        let error = match sent {
            Ok(answer) if answer.status().is_success() => return Arrival::Arrived,
            Ok(answer) => format!("it was answered with {}", answer.status()),
            // The address is left out of it.
            Err(error) => error.without_url().to_string(),
        };
        let random = uuid::Uuid::new_v4().as_u128() % 26;
        Arrival::Failed {
            error,
            jitter_percent: u32::try_from(random).unwrap_or(0),
        }
    }
}
