//! Webhooks over real HTTP, on both databases, by a clock that stands still: what is told, in what order,
//! signed how, and what becomes of it when the receiver fails.
#![allow(
    clippy::unwrap_used,
    reason = "a test's own functions fail the test, as the test itself does"
)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use andon::BreakerSettings;
use andon_adapter::line::queue::ResumeOrder;
use andon_adapter::line::webhooks::{ATTEMPTS_MAX, health, told};
use andon_adapter::line::{Line, Settings, breakers, queue};
use andon_adapter::store::Access;
use andon_adapter::webhooks::{Sender, Webhook, signature};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use store_sql::operator;
use support::Database;
use tokio::io::AsyncReadExt as _;

mod cli;
mod store_sql;
mod support;

on_both!(
    a_pause_and_a_resume_are_told_once_in_order_and_signed,
    a_failure_is_tried_again_under_the_same_id_and_given_up_at_last,
    one_of_two_servers_tells_a_message_and_the_other_after_a_crash,
    a_lasting_pause_is_told_again_until_it_is_resumed,
    an_acknowledged_stop_is_not_told_again_until_it_is_another_one,
    a_receiver_that_never_answers_or_dies_in_the_middle_is_told_again_and_its_state_is_seen,
);

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What arrived: the id, and the body.
#[derive(Clone, Default)]
struct Receiver {
    arrived: Arc<Mutex<Vec<(String, Value)>>>,
    /// What is answered next; 204 once there is nothing more.
    answers: Arc<Mutex<VecDeque<u16>>>,
    /// Whether it takes messages and answers none.
    is_silent: Arc<AtomicBool>,
}

impl Receiver {
    async fn start() -> (Self, Webhook) {
        let receiver = Self::default();
        let router = Router::new()
            .route("/hook", post(receive))
            .with_state(receiver.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let webhook = Webhook {
            url: url.into(),
            secret: SECRET.into(),
        };
        (receiver, webhook)
    }

    fn ids(&self) -> Vec<String> {
        self.arrived
            .lock()
            .unwrap()
            .iter()
            .map(|(id, _)| id.clone())
            .collect()
    }

    fn types(&self) -> Vec<String> {
        let arrived = self.arrived.lock().unwrap();
        arrived
            .iter()
            .map(|(_, body)| body["type"].as_str().unwrap().to_owned())
            .collect()
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: String) -> StatusCode {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let id = header("webhook-id");
    let timestamp = header("webhook-timestamp").parse().unwrap();
    let signed = signature(&SECRET.into(), &id, timestamp, &body);
    assert_eq!(header("webhook-signature"), signed);
    let body = serde_json::from_str(&body).unwrap();
    receiver.arrived.lock().unwrap().push((id, body));
    if receiver.is_silent.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    let answer = receiver.answers.lock().unwrap().pop_front().unwrap_or(204);
    StatusCode::from_u16(answer).unwrap()
}

/// A line whose webhook hears from now on.
async fn line(database: &Database) -> (Line, Sender, Receiver, Webhook) {
    let settings = Settings {
        services: ["apollo", "openai"]
            .map(|name| (store_sql::service(name), BreakerSettings::default()))
            .into(),
        ..Settings::default()
    };
    let line = Line::new(database.store.clone(), settings);
    line.start_up().await.unwrap();
    let (receiver, webhook) = Receiver::start().await;
    let sender = Sender::new(line.clone(), vec![webhook.clone()]).unwrap();
    assert!(!sender.tell_next(&webhook).await.unwrap());
    (line, sender, receiver, webhook)
}

async fn pause(line: &Line) {
    line.transact(|tx| Box::pin(async move { queue::pause(tx, &operator()).await }))
        .await
        .unwrap();
}

async fn acknowledge(line: &Line) {
    line.transact(|tx| {
        Box::pin(async move {
            let epoch = tx.gate().await?.epoch();
            queue::acknowledge(tx, &operator(), epoch).await
        })
    })
    .await
    .unwrap();
}

async fn open(line: &Line, service: &'static str) {
    line.transact(move |tx| {
        Box::pin(async move { breakers::open(tx, &operator(), &store_sql::service(service)).await })
    })
    .await
    .unwrap();
}

async fn reset(line: &Line, service: &'static str) {
    let reset = line.transact(move |tx| {
        Box::pin(
            async move { breakers::reset(tx, &operator(), &store_sql::service(service)).await },
        )
    });
    reset.await.unwrap().unwrap();
}

async fn resume(line: &Line) {
    let resumed = line.transact(|tx| {
        Box::pin(async move {
            let order = ResumeOrder::default();
            queue::resume(tx, &operator(), &order).await
        })
    });
    resumed.await.unwrap().unwrap();
}

async fn a_pause_and_a_resume_are_told_once_in_order_and_signed(database: Database) {
    let (line, sender, receiver, webhook) = line(&database).await;
    pause(&line).await;
    resume(&line).await;
    assert!(sender.tell_next(&webhook).await.unwrap());
    assert!(sender.tell_next(&webhook).await.unwrap());
    assert!(!sender.tell_next(&webhook).await.unwrap());
    assert_eq!(receiver.types(), ["queue_paused", "queue_resumed"]);
    let arrived = receiver.arrived.lock().unwrap().clone();
    assert_eq!(arrived[0].1["data"]["actor"], "operator ada");
    assert_ne!(arrived[0].0, arrived[1].0);
}

async fn a_failure_is_tried_again_under_the_same_id_and_given_up_at_last(database: Database) {
    let (line, sender, receiver, webhook) = line(&database).await;
    pause(&line).await;
    resume(&line).await;
    receiver.answers.lock().unwrap().extend([500, 302]);
    assert!(!sender.tell_next(&webhook).await.unwrap());
    // Not before its wait is over.
    database.clock.advance(Duration::from_secs(4));
    assert!(!sender.tell_next(&webhook).await.unwrap());
    assert_eq!(receiver.ids().len(), 1);
    for wait in [3, 13] {
        database.clock.advance(Duration::from_secs(wait));
        sender.tell_next(&webhook).await.unwrap();
    }
    let ids = receiver.ids();
    assert_eq!(ids.len(), 3, "tried three times: {ids:?}");
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");

    receiver
        .answers
        .lock()
        .unwrap()
        .extend([503; ATTEMPTS_MAX as usize]);
    for _ in 0..ATTEMPTS_MAX {
        database.clock.advance(Duration::from_hours(1));
        assert!(!sender.tell_next(&webhook).await.unwrap());
    }
    assert!(!sender.tell_next(&webhook).await.unwrap(), "given up");
    assert_eq!(receiver.ids().len(), 3 + ATTEMPTS_MAX as usize);
    let mut tx = database.store.begin(Access::Read).await.unwrap();
    let told = told(&mut *tx, &webhook.name()).await.unwrap().unwrap();
    assert_eq!((told.given_up, told.attempts), (1, 0));
    assert!(told.error.unwrap().contains("503"));
}

async fn one_of_two_servers_tells_a_message_and_the_other_after_a_crash(database: Database) {
    let (line, one, receiver, webhook) = line(&database).await;
    let other = Sender::new(line.clone(), vec![webhook.clone()]).unwrap();
    pause(&line).await;
    let (first, second) = tokio::join!(one.tell_next(&webhook), other.tell_next(&webhook));
    assert!(first.unwrap() != second.unwrap(), "one of them");
    assert_eq!(receiver.ids().len(), 1);

    // A server that dies with the message in its hands: another sends it once the lease is over.
    resume(&line).await;
    let name = webhook.name();
    line.transact(move |tx| {
        let name = name.clone();
        Box::pin(async move { andon_adapter::line::webhooks::take(tx, &name, "dead").await })
    })
    .await
    .unwrap()
    .unwrap();
    assert!(!other.tell_next(&webhook).await.unwrap());
    database.clock.advance(Duration::from_secs(31));
    assert!(other.tell_next(&webhook).await.unwrap());
    assert_eq!(receiver.types(), ["queue_paused", "queue_resumed"]);
}

async fn a_lasting_pause_is_told_again_until_it_is_resumed(database: Database) {
    let (line, sender, receiver, webhook) = line(&database).await;
    pause(&line).await;
    assert!(sender.tell_next(&webhook).await.unwrap());
    for (minutes, is_told) in [(14, false), (1, true), (44, false), (1, true), (180, true)] {
        database.clock.advance(Duration::from_mins(minutes));
        assert_eq!(
            sender.tell_next(&webhook).await.unwrap(),
            is_told,
            "{minutes}"
        );
        assert!(!sender.tell_next(&webhook).await.unwrap(), "once");
    }
    // Nobody could tell for three days: one reminder, not three.
    database.clock.advance(Duration::from_hours(72));
    assert!(sender.tell_next(&webhook).await.unwrap());
    assert!(!sender.tell_next(&webhook).await.unwrap());
    resume(&line).await;
    assert!(sender.tell_next(&webhook).await.unwrap());
    database.clock.advance(Duration::from_hours(72));
    assert!(!sender.tell_next(&webhook).await.unwrap());
    let expected = [
        &["queue_paused"][..],
        &["queue_still_paused"; 4],
        &["queue_resumed"],
    ]
    .concat();
    assert_eq!(receiver.types(), expected);
}

async fn an_acknowledged_stop_is_not_told_again_until_it_is_another_one(database: Database) {
    let (line, sender, receiver, webhook) = line(&database).await;
    let tells = async |after: Duration| {
        database.clock.advance(after);
        let mut told = 0;
        while sender.tell_next(&webhook).await.unwrap() {
            told += 1;
        }
        told
    };
    let (at_once, quarter) = (Duration::ZERO, Duration::from_mins(15));
    open(&line, "openai").await;
    assert_eq!(tells(at_once).await, 2, "the opening and the pause");
    assert_eq!(tells(quarter).await, 1);
    acknowledge(&line).await;
    assert_eq!(tells(at_once).await, 1);
    assert_eq!(tells(Duration::from_hours(48)).await, 0);

    // A breaker that opens is told in any case, and is nothing that anybody has in hand.
    open(&line, "apollo").await;
    assert_eq!(tells(at_once).await, 1);
    assert_eq!(tells(Duration::from_mins(14)).await, 0);
    assert_eq!(tells(Duration::from_mins(1)).await, 1);
    acknowledge(&line).await;
    assert_eq!(tells(Duration::from_hours(48)).await, 1);

    for service in ["apollo", "openai"] {
        reset(&line, service).await;
    }
    resume(&line).await;
    pause(&line).await;
    assert_eq!(tells(at_once).await, 2);
    assert_eq!(tells(quarter).await, 1, "a new stop begins anew");
    let expected = [
        "breaker_opened",
        "queue_paused",
        "queue_still_paused",
        "stop_acknowledged",
        "breaker_opened",
        "queue_still_paused",
        "stop_acknowledged",
        "queue_resumed",
        "queue_paused",
        "queue_still_paused",
    ];
    assert_eq!(receiver.types(), expected);
    let mut ids = receiver.ids();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), expected.len(), "each has an id of its own");
    let arrived = receiver.arrived.lock().unwrap().clone();
    assert_eq!(arrived[3].1["data"]["actor"], "operator ada");
}

/// A receiver that reads what it is sent and then does one of two things: nothing, ever, or it hangs up.
async fn unreliable(hangs_up: Arc<AtomicBool>) -> Webhook {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut begun = [0; 16];
            stream.read_exact(&mut begun).await.unwrap();
            if !hangs_up.load(Ordering::SeqCst) {
                held.push(stream);
            }
        }
    });
    Webhook {
        url: url.into(),
        secret: SECRET.into(),
    }
}

async fn a_receiver_that_never_answers_or_dies_in_the_middle_is_told_again_and_its_state_is_seen(
    database: Database,
) {
    let line = Line::new(database.store.clone(), Settings::default());
    line.start_up().await.unwrap();
    let hangs_up = Arc::new(AtomicBool::new(true));
    let webhook = unreliable(Arc::clone(&hangs_up)).await;
    let sender = Sender::new(line.clone(), vec![webhook.clone()]).unwrap();
    let state = async || {
        let name = webhook.name();
        let read = line.query(|tx| Box::pin(async move { health(tx, &name).await }));
        read.await.unwrap()
    };
    assert_eq!(state().await, None, "nobody has looked after it: not known");
    assert!(!sender.tell_next(&webhook).await.unwrap());
    let well = state().await.unwrap();
    assert_eq!((well.behind, well.attempts, well.failed), (0, 0, None));

    pause(&line).await;
    assert!(!sender.tell_next(&webhook).await.unwrap(), "it hung up");
    database.clock.advance(Duration::from_secs(4));
    let failing = state().await.unwrap();
    assert_eq!((failing.behind, failing.attempts), (1, 1));
    assert_eq!(failing.waiting, Duration::from_secs(4));
    let (failed_at, error) = failing.failed.unwrap();
    assert!(!error.contains("127.0.0.1"), "{error}");
    assert!(failing.next_try.unwrap() > failed_at);

    // It takes the message and says nothing: given up after ten seconds, while the message is kept.
    hangs_up.store(false, Ordering::SeqCst);
    database.clock.advance(Duration::from_secs(10));
    resume(&line).await;
    let began = Instant::now();
    assert!(!sender.tell_next(&webhook).await.unwrap());
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "it is not waited for"
    );
    let silent = state().await.unwrap();
    assert_eq!((silent.behind, silent.attempts), (2, 2));

    // Another receiver in its place is told of both, in order.
    let (receiver, well) = Receiver::start().await;
    let name = webhook.name();
    let other = well.name();
    line.transact(move |tx| {
        let (from, to) = (format!("webhook {name}"), format!("webhook {other}"));
        Box::pin(async move {
            let note = tx.note(&from).await?.unwrap();
            Ok(tx.note_write(&to, &note).await?)
        })
    })
    .await
    .unwrap();
    database.clock.advance(Duration::from_mins(1));
    while sender.tell_next(&well).await.unwrap() {}
    assert_eq!(receiver.types(), ["queue_paused", "queue_resumed"]);
}

/// Waits until so many messages have arrived.
async fn until(receiver: &Receiver, count: usize) {
    let began = Instant::now();
    while receiver.ids().len() < count {
        assert!(began.elapsed() < cli::PATIENCE, "{:?}", receiver.types());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn served(folder: &std::path::Path, database: &str) -> cli::Server {
    let (folder, database) = (folder.to_owned(), database.to_owned());
    let serve = move || cli::serve(&folder, &["--database", &database]);
    tokio::task::spawn_blocking(serve).await.unwrap()
}

/// A real server, killed while one message is in its hands, unanswered, and another is committed and not
/// sent yet: the next server tells both. At least once, in order, and a duplicate has the same id.
async fn what_was_committed_is_told_although_its_server_is_killed(database: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (receiver, webhook) = Receiver::start().await;
    std::fs::write(folder.path().join("key"), SECRET).unwrap();
    let url = webhook.url.expose_secret();
    let config = format!("[[webhooks]]\nurl = \"{url}\"\nsecret = {{ file = \"key\" }}\n");
    std::fs::write(folder.path().join("andon.toml"), config).unwrap();
    let server = served(folder.path(), database).await;
    let order = async |server: &cli::Server, path: &str| {
        let url = format!("{}/api/v1/queue-management/{path}", server.url);
        let answer = reqwest::Client::new().post(url).send().await.unwrap();
        assert!(
            answer.status().is_success(),
            "{}",
            answer.text().await.unwrap()
        );
    };
    // A webhook hears from when a server first looks after it: once its figures are there.
    let began = Instant::now();
    let figures = format!("{}/metrics", server.url);
    while !reqwest::get(&figures)
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
        .contains("andon_webhook_")
    {
        assert!(began.elapsed() < cli::PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    receiver.is_silent.store(true, Ordering::SeqCst);
    order(&server, "pause-queue").await;
    until(&receiver, 1).await;
    order(&server, "resume-queue").await;
    tokio::task::spawn_blocking(move || server.process.end_by("-KILL"))
        .await
        .unwrap();
    assert_eq!(receiver.types(), ["queue_paused"]);

    receiver.is_silent.store(false, Ordering::SeqCst);
    let _next = served(folder.path(), database).await;
    until(&receiver, 3).await;
    assert_eq!(
        receiver.types(),
        ["queue_paused", "queue_paused", "queue_resumed"]
    );
    let ids = receiver.ids();
    assert_eq!(
        ids[0], ids[1],
        "a receiver can tell that it has had this one"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_told_although_its_server_is_killed_on_sqlite() {
    let database = support::sqlite().await;
    what_was_committed_is_told_although_its_server_is_killed(&database.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_told_although_its_server_is_killed_on_postgres() {
    let database = support::postgres().await;
    what_was_committed_is_told_although_its_server_is_killed(&database.url).await;
}
