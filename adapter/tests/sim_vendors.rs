//! The simulated vendors over real HTTP: data, every fault as its caller sees it, log and control.

#![expect(
    clippy::unwrap_used,
    reason = "the functions that tests share fail the test, as the tests themselves do"
)]

use std::collections::HashSet;
use std::error::Error;
use std::io;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use andon_adapter::sim::vendors::{
    CallOutcome, Effect, ErrorStatus, Fault, Service, Vendors, VendorsConfig, VendorsHandle, When,
};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(20);

/// A server without latencies.
async fn vendors() -> VendorsHandle {
    start(VendorsConfig::default()).await
}

async fn start(config: VendorsConfig) -> VendorsHandle {
    let quick = VendorsConfig {
        time_scale: 0.0,
        ..config
    };
    Vendors::start(quick).await.unwrap()
}

fn client() -> Client {
    let builder = Client::builder().no_proxy();
    builder.timeout(DEADLINE).build().unwrap()
}

/// A valid call to a service, with a key or without.
async fn call(
    client: &Client,
    vendors: &VendorsHandle,
    service: Service,
    key: Option<&str>,
) -> reqwest::Result<Response> {
    let base = vendors.base_url(service);
    let chat = json!({"model": "small", "messages": [{"role": "user", "content": "Hello"}]});
    let request = match service {
        Service::Apollo => {
            let search = json!({"page": 1, "per_page": 5, "q_keywords": "examples"});
            let url = format!("{base}/v1/mixed_people/search");
            client.post(url).json(&search)
        }
        Service::MillionVerifier => {
            let query = [("api", "secret"), ("email", "lead0001@example.com")];
            client.get(format!("{base}/api/v3")).query(&query)
        }
        Service::Perplexity => client.post(format!("{base}/chat/completions")).json(&chat),
        Service::OpenAi => client
            .post(format!("{base}/v1/chat/completions"))
            .json(&chat),
        Service::Instantly => client.post(format!("{base}/api/v2/leads")).json(&json!({
            "campaign": "c-1", "email": "lead0001@example.com", "first_name": "Lead 0001",
        })),
    };
    match key {
        Some(key) => request.header("Idempotency-Key", key).send().await,
        None => request.send().await,
    }
}

async fn body(client: &Client, vendors: &VendorsHandle, service: Service) -> Value {
    let response = call(client, vendors, service, None).await.unwrap();
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

/// A request to the control paths, and its answer.
async fn control(
    vendors: &VendorsHandle,
    method: Method,
    path: &str,
    body: &str,
) -> (StatusCode, Value) {
    let url = format!("http://{}/control/{path}", vendors.addr());
    let request = client().request(method, url).body(body.to_owned());
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    let value = if text.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&text).unwrap()
    };
    (status, value)
}

async fn statuses(vendors: &VendorsHandle, service: Service, count: usize) -> Vec<u16> {
    let client = client();
    let mut statuses = Vec::new();
    for _ in 0..count {
        let response = call(&client, vendors, service, None).await.unwrap();
        statuses.push(response.status().as_u16());
    }
    statuses
}

fn outcomes(vendors: &VendorsHandle) -> Vec<CallOutcome> {
    let records = vendors.records();
    records.iter().map(|record| record.outcome).collect()
}

/// Whether an operating system's "connection reset by peer" is what lies below.
fn is_reset(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::ConnectionReset
            && error.raw_os_error().is_some()
        {
            return true;
        }
        cause = error.source();
    }
    false
}

const UNAVAILABLE: Effect = Effect::Status(ErrorStatus::SERVICE_UNAVAILABLE);

// Data.

#[tokio::test]
async fn every_service_answers_in_its_shape() {
    let vendors = vendors().await;
    let client = client();
    let apollo = body(&client, &vendors, Service::Apollo).await;
    assert_eq!(apollo["people"].as_array().unwrap().len(), 5);
    assert_eq!(apollo["people"][0]["first_name"], "Lead 0001");
    assert_eq!(apollo["pagination"]["total_entries"], 100);
    assert_eq!(apollo["pagination"]["total_pages"], 20);
    let verified = body(&client, &vendors, Service::MillionVerifier).await;
    assert_eq!(verified["email"], "lead0001@example.com");
    let results = ["ok", "catch_all", "invalid"];
    assert!(results.contains(&verified["result"].as_str().unwrap()));
    assert!(verified["credits"].is_u64());
    let note = body(&client, &vendors, Service::Perplexity).await;
    assert!(note["choices"][0]["message"]["content"].is_string());
    assert_eq!(note["citations"].as_array().unwrap().len(), 2);
    let text = body(&client, &vendors, Service::OpenAi).await;
    let usage = &text["usage"];
    assert!(text["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(
        usage["total_tokens"].as_u64().unwrap(),
        usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap(),
    );
    let added = body(&client, &vendors, Service::Instantly).await;
    assert_eq!(added["email"], "lead0001@example.com");
    assert!(added["id"].as_str().unwrap().parse::<uuid::Uuid>().is_ok());
}

#[tokio::test]
async fn paging_gives_each_lead_once_and_then_nothing() {
    let vendors = start(VendorsConfig {
        leads_per_search: 57,
        ..VendorsConfig::default()
    })
    .await;
    let client = client();
    let url = format!(
        "{}/v1/mixed_people/search",
        vendors.base_url(Service::Apollo)
    );
    let page = async |keywords: &str, page: u64| -> Vec<String> {
        let search = json!({"page": page, "per_page": 10, "q_keywords": keywords});
        let response = client.post(&url).json(&search).send().await.unwrap();
        let found: Value = response.json().await.unwrap();
        let people = found["people"].as_array().unwrap();
        let email = |person: &Value| person["email"].as_str().unwrap().to_owned();
        people.iter().map(email).collect()
    };
    let mut found = Vec::new();
    for number in 1..=6 {
        found.extend(page("one", number).await);
    }
    let distinct: HashSet<&String> = found.iter().collect();
    assert_eq!((found.len(), distinct.len()), (57, 57));
    assert!(page("one", 7).await.is_empty());
    assert!(page("one", u64::MAX).await.is_empty());
    let other = page("two", 1).await;
    assert!(other.iter().all(|email| !distinct.contains(email)));
}

#[tokio::test]
async fn the_same_seed_gives_the_same_data_and_another_seed_other_data() {
    let mut told = Vec::new();
    for seed in [7, 7, 8] {
        let vendors = start(VendorsConfig {
            seed,
            ..VendorsConfig::default()
        })
        .await;
        let client = client();
        let mut answers = Vec::new();
        for service in Service::ALL {
            answers.push(body(&client, &vendors, service).await);
        }
        told.push(answers);
        vendors.shutdown().await;
    }
    assert_eq!(told[0], told[1]);
    assert_ne!(told[0][0], told[2][0]);
    assert_ne!(told[0][3], told[2][3]);
}

#[tokio::test]
async fn verification_finds_every_result_among_many_addresses() {
    let vendors = vendors().await;
    let client = client();
    let url = format!("{}/api/v3", vendors.base_url(Service::MillionVerifier));
    let mut results = HashSet::new();
    for number in 0..80 {
        let query = [("email", format!("a+{number}@example.org"))];
        let response = client.get(&url).query(&query).send().await.unwrap();
        let verified: Value = response.json().await.unwrap();
        assert_eq!(verified["email"], format!("a+{number}@example.org"));
        results.insert(verified["result"].as_str().unwrap().to_owned());
    }
    assert_eq!(results.len(), 3, "{results:?}");
}

#[tokio::test]
async fn bad_calls_are_refused_as_the_service_would() {
    let vendors = vendors().await;
    let client = client();
    let cases = [
        (
            Service::Apollo,
            "/v1/mixed_people/search",
            "{\"page\":0}",
            422,
        ),
        (
            Service::Apollo,
            "/v1/mixed_people/search",
            "{\"per_page\":101}",
            422,
        ),
        (
            Service::Apollo,
            "/v1/mixed_people/search",
            "{\"page\":-1}",
            422,
        ),
        (Service::Apollo, "/v1/elsewhere", "{}", 404),
        (Service::MillionVerifier, "/api/v3?email=a", "", 405),
        (Service::Perplexity, "/chat/completions", "{", 400),
        (
            Service::OpenAi,
            "/v1/chat/completions",
            "{\"model\":\"m\",\"messages\":[]}",
            400,
        ),
        (
            Service::Instantly,
            "/api/v2/leads",
            "{\"email\":\"nobody\"}",
            400,
        ),
        (Service::Instantly, "", "{}", 404),
    ];
    for (service, path, body, status) in cases {
        let url = format!("{}{path}", vendors.base_url(service));
        let request = client.post(url).body(body);
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{service}{path} {body}");
        assert!(response.json::<Value>().await.unwrap().is_object());
    }
    let oversized = client
        .post(format!(
            "{}/api/v2/leads",
            vendors.base_url(Service::Instantly)
        ))
        .body(vec![b' '; (1 << 20) + 1]);
    assert_eq!(oversized.send().await.unwrap().status(), 413);
    let elsewhere = format!("http://{}/hubspot/v1", vendors.addr());
    let unknown = client.get(elsewhere).send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    assert!(unknown.text().await.unwrap().contains("millionverifier"));
    assert_eq!(vendors.ok_calls(Service::Apollo), 0);
}

// Faults, as their caller sees them.

#[tokio::test]
async fn a_status_fault_is_answered_in_the_shape_of_each_service() {
    let vendors = vendors().await;
    let client = client();
    let statuses = [
        ErrorStatus::INTERNAL_SERVER_ERROR,
        ErrorStatus::SERVICE_UNAVAILABLE,
        ErrorStatus::UNAUTHORIZED,
        ErrorStatus::try_from(408).unwrap(),
    ];
    for service in Service::ALL {
        for status in statuses {
            vendors.set_fault(service, Some(Fault::always(Effect::Status(status))));
            let answer = call(&client, &vendors, service, None).await.unwrap();
            assert_eq!(answer.status().as_u16(), status.code());
            let body: Value = answer.json().await.unwrap();
            assert!(body.is_object(), "{body}");
        }
        vendors.set_fault(service, None);
        body(&client, &vendors, service).await;
        let totals = vendors.totals(service);
        assert_eq!((totals.calls, totals.ok, totals.failed), (5, 1, 4));
    }
}

#[tokio::test]
async fn a_rate_limit_says_when_to_come_back() {
    let vendors = vendors().await;
    let effect = Effect::RateLimited { retry_after_s: 17 };
    vendors.set_fault(Service::OpenAi, Some(Fault::always(effect)));
    let answer = call(&client(), &vendors, Service::OpenAi, None).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "17");
}

#[tokio::test]
async fn a_hang_ends_only_when_its_caller_gives_up() {
    let vendors = vendors().await;
    vendors.set_fault(Service::Apollo, Some(Fault::always(Effect::Hang)));
    let hasty = Client::builder().no_proxy();
    let hasty = hasty.timeout(Duration::from_millis(150)).build().unwrap();
    let error = call(&hasty, &vendors, Service::Apollo, Some("k")).await;
    assert!(error.unwrap_err().is_timeout());
    let ended = vendors.wait_for(Service::Apollo, |totals| totals.failed == 1);
    tokio::time::timeout(DEADLINE, ended).await.unwrap();
    assert_eq!(outcomes(&vendors), [CallOutcome::CallerGone]);
}

#[tokio::test]
async fn a_delay_adds_its_time_and_then_answers() {
    let vendors = vendors().await;
    let effect = Effect::Delay { ms: 120 };
    vendors.set_fault(Service::Instantly, Some(Fault::always(effect)));
    let before = Instant::now();
    body(&client(), &vendors, Service::Instantly).await;
    assert!(before.elapsed() >= Duration::from_millis(120));
    assert_eq!(outcomes(&vendors), [CallOutcome::Answered(200)]);
}

#[tokio::test]
async fn a_reset_before_the_answer_reaches_the_caller_as_a_tcp_reset() {
    let vendors = vendors().await;
    let client = client();
    // The second call goes over a connection that is kept alive.
    body(&client, &vendors, Service::OpenAi).await;
    let fault = Fault::always(Effect::ResetBeforeAnswer);
    vendors.set_fault(Service::OpenAi, Some(fault));
    for _ in 0..2 {
        let error = call(&client, &vendors, Service::OpenAi, None).await;
        let error = error.unwrap_err();
        assert!(is_reset(&error), "{error:?}");
    }
    assert_eq!(
        outcomes(&vendors),
        [
            CallOutcome::Answered(200),
            CallOutcome::Reset,
            CallOutcome::Reset
        ],
    );
}

#[tokio::test]
async fn a_reset_in_mid_answer_comes_after_the_head_and_half_of_the_body() {
    let vendors = vendors().await;
    let fault = Fault::always(Effect::ResetMidAnswer);
    vendors.set_fault(Service::Apollo, Some(fault));
    let answer = call(&client(), &vendors, Service::Apollo, None).await;
    let mut answer = answer.unwrap();
    assert_eq!(answer.status(), 200);
    let promised = answer.content_length().unwrap();
    let mut got = 0;
    let error = loop {
        match answer.chunk().await {
            Ok(Some(piece)) => got += piece.len() as u64,
            Ok(None) => panic!("the answer ended whole"),
            Err(error) => break error,
        }
    };
    assert_eq!(got, promised / 2);
    assert!(is_reset(&error), "{error:?}");
    assert_eq!(outcomes(&vendors), [CallOutcome::Reset]);
}

#[tokio::test]
async fn malformed_json_comes_with_200_and_cannot_be_read() {
    let vendors = vendors().await;
    let client = client();
    for service in Service::ALL {
        vendors.set_fault(service, Some(Fault::always(Effect::MalformedJson)));
        let answer = call(&client, &vendors, service, None).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/json");
        let text = answer.text().await.unwrap();
        let error = serde_json::from_str::<Value>(&text).unwrap_err();
        assert!(error.is_eof(), "{text}");
        assert_eq!(vendors.ok_calls(service), 0);
    }
    assert!(
        outcomes(&vendors)
            .iter()
            .all(|outcome| *outcome == CallOutcome::Malformed)
    );
}

#[tokio::test]
async fn a_slow_body_drips_in_pieces_and_is_whole_in_the_end() {
    let vendors = vendors().await;
    let effect = Effect::SlowBody {
        chunk_bytes: 50,
        gap_ms: 5,
    };
    vendors.set_fault(Service::Perplexity, Some(Fault::always(effect)));
    let answer = call(&client(), &vendors, Service::Perplexity, None).await;
    let mut answer = answer.unwrap();
    let mut body = Vec::new();
    let mut pieces = 0;
    while let Some(piece) = answer.chunk().await.unwrap() {
        body.extend_from_slice(&piece);
        pieces += 1;
    }
    assert!(pieces > 1, "{pieces}");
    assert!(serde_json::from_slice::<Value>(&body).unwrap().is_object());
    let record = vendors.records().remove(0);
    assert_eq!(record.outcome, CallOutcome::Answered(200));
    let gaps = (body.len().div_ceil(50) - 1) as u64;
    assert!(record.finished_us.unwrap() - record.started_us >= gaps * 5_000);
}

#[tokio::test]
async fn a_slow_body_left_half_way_is_logged_as_such() {
    let vendors = vendors().await;
    let effect = Effect::SlowBody {
        chunk_bytes: 1,
        gap_ms: 60_000,
    };
    vendors.set_fault(Service::OpenAi, Some(Fault::always(effect)));
    let client = client();
    let mut answer = call(&client, &vendors, Service::OpenAi, None)
        .await
        .unwrap();
    assert!(answer.chunk().await.unwrap().is_some());
    assert_eq!(outcomes(&vendors), [CallOutcome::InProgress]);
    drop(answer);
    let ended = vendors.wait_for(Service::OpenAi, |totals| totals.failed == 1);
    tokio::time::timeout(DEADLINE, ended).await.unwrap();
    assert_eq!(outcomes(&vendors), [CallOutcome::CallerGone]);
}

#[tokio::test]
async fn a_fault_hits_the_calls_its_schedule_names_and_no_other_service() {
    let vendors = vendors().await;
    let when = |when: When| {
        Some(Fault {
            effect: UNAVAILABLE,
            when,
        })
    };
    let three = NonZeroU64::new(3).unwrap();
    let of = Service::Instantly;
    vendors.set_fault(of, when(When::every(three)));
    assert_eq!(
        statuses(&vendors, of, 6).await,
        [200, 200, 503, 200, 200, 503]
    );
    let armed = vendors.fault(of).unwrap();
    assert_eq!((armed.calls, armed.hits), (6, 2));
    vendors.set_fault(of, when(When::after(2)));
    assert_eq!(statuses(&vendors, of, 4).await, [200, 200, 503, 503]);
    vendors.set_fault(of, when(When::for_next(2)));
    assert_eq!(statuses(&vendors, of, 4).await, [503, 503, 200, 200]);
    assert_eq!(statuses(&vendors, Service::OpenAi, 2).await, [200, 200]);
    vendors.set_fault(of, None);
    assert_eq!(vendors.fault(of), None);
    assert_eq!(statuses(&vendors, of, 1).await, [200]);
}

// Idempotency.

#[tokio::test]
async fn a_key_answered_before_gets_the_same_answer_and_counts_as_a_repeat() {
    let vendors = vendors().await;
    let client = client();
    let mut texts = Vec::new();
    for key in ["a", "a", "b"] {
        let answer = call(&client, &vendors, Service::OpenAi, Some(key)).await;
        texts.push(answer.unwrap().text().await.unwrap());
    }
    assert_eq!(texts[0], texts[1]);
    assert_ne!(texts[0], texts[2]);
    // The key is the service's own.
    call(&client, &vendors, Service::Instantly, Some("a"))
        .await
        .unwrap();
    let repeats: Vec<bool> = vendors.records().iter().map(|call| call.repeat).collect();
    assert_eq!(repeats, [false, true, false, false]);
    assert_eq!(vendors.repeated_calls(Service::OpenAi), 1);
}

#[tokio::test]
async fn an_answer_that_never_arrived_whole_is_given_again_and_is_no_repeat() {
    let vendors = vendors().await;
    let client = client();
    let of = Service::MillionVerifier;
    for effect in [
        UNAVAILABLE,
        Effect::ResetBeforeAnswer,
        Effect::ResetMidAnswer,
        Effect::MalformedJson,
    ] {
        vendors.set_fault(of, Some(Fault::always(effect)));
        if let Ok(answer) = call(&client, &vendors, of, Some("k")).await {
            let _ = answer.text().await;
        }
    }
    vendors.set_fault(of, None);
    let answer = call(&client, &vendors, of, Some("k")).await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    // Charged once, at the third call: the answer kept then is the one that stands.
    assert_eq!(answer["credits"], 1_000_000 - 3);
    assert_eq!(vendors.repeated_calls(of), 0);
    assert_eq!((vendors.calls(of), vendors.ok_calls(of)), (5, 1));
    let repeated = call(&client, &vendors, of, Some("k")).await.unwrap();
    assert_eq!(repeated.json::<Value>().await.unwrap(), answer);
    assert_eq!(vendors.repeated_calls(of), 1);
}

#[tokio::test]
async fn a_key_that_is_empty_or_too_long_is_refused() {
    let vendors = vendors().await;
    let client = client();
    for key in ["", &"k".repeat(256)] {
        let answer = call(&client, &vendors, Service::OpenAi, Some(key)).await;
        assert_eq!(answer.unwrap().status(), 400);
    }
    let longest = "k".repeat(255);
    let answer = call(&client, &vendors, Service::OpenAi, Some(&longest)).await;
    assert_eq!(answer.unwrap().status(), 200);
}

// The log and the control paths.

#[tokio::test]
async fn the_log_tells_each_call_in_order_with_its_times() {
    let vendors = vendors().await;
    let client = client();
    for service in Service::ALL {
        call(&client, &vendors, service, Some("key")).await.unwrap();
    }
    vendors.set_fault(Service::OpenAi, Some(Fault::always(UNAVAILABLE)));
    call(&client, &vendors, Service::OpenAi, None)
        .await
        .unwrap();
    let records = vendors.records();
    let seqs: Vec<u64> = records.iter().map(|call| call.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6]);
    for call in &records {
        assert!(call.finished_us.unwrap() >= call.started_us);
        assert!(call.finished_at.unwrap() >= call.started_at);
    }
    assert!(records.is_sorted_by_key(|call| call.started_us));
    let verified = &records[1];
    assert_eq!(verified.service, Service::MillionVerifier);
    assert_eq!(verified.method, "GET");
    assert_eq!(verified.path, "/api/v3", "the query may hold a secret");
    assert_eq!(verified.idempotency_key.as_deref(), Some("key"));
    let failed = &records[5];
    assert_eq!((failed.number, failed.effect), (2, Some(UNAVAILABLE)));
    assert_eq!(failed.outcome, CallOutcome::Answered(503));
    assert_eq!(
        vendors.last_call_started_at(Service::OpenAi),
        Some(failed.started_at)
    );
    assert_eq!(
        vendors.first_failure_at(Service::OpenAi),
        failed.finished_at
    );
    assert_eq!(vendors.first_failure_at(Service::Apollo), None);
    vendors.clear_log();
    assert!(vendors.records().is_empty());
    assert_eq!(vendors.calls(Service::OpenAi), 0);
}

#[tokio::test]
async fn a_full_log_drops_the_oldest_and_counts_them() {
    let vendors = start(VendorsConfig {
        log_records_max: 3,
        ..VendorsConfig::default()
    })
    .await;
    statuses(&vendors, Service::Apollo, 5).await;
    assert_eq!(vendors.records().len(), 3);
    assert_eq!(vendors.records_dropped(), 2);
    assert_eq!(vendors.ok_calls(Service::Apollo), 5);
}

#[tokio::test]
async fn faults_are_switched_over_http() {
    let vendors = vendors().await;
    let fault = r#"{"effect": {"rate_limited": {"retry_after_s": 2}}, "when": {"every": 2}}"#;
    let (status, set) = control(&vendors, Method::PUT, "faults/openai", fault).await;
    assert_eq!(status, 200);
    assert_eq!(set["fault"]["when"]["every"], 2);
    assert_eq!(
        statuses(&vendors, Service::OpenAi, 4).await,
        [200, 429, 200, 429]
    );
    let (_, one) = control(&vendors, Method::GET, "faults/openai", "").await;
    assert_eq!((&one["calls"], &one["hits"]), (&json!(4), &json!(2)));
    let (_, all) = control(&vendors, Method::GET, "faults", "").await;
    assert_eq!(all["openai"], one);
    assert_eq!(all["apollo"], Value::Null);
    let (status, _) = control(&vendors, Method::DELETE, "faults/openai", "").await;
    assert_eq!(status, 204);
    assert_eq!(vendors.fault(Service::OpenAi), None);
    vendors.set_fault(Service::Apollo, Some(Fault::always(UNAVAILABLE)));
    let (status, _) = control(&vendors, Method::DELETE, "faults", "").await;
    assert_eq!(status, 204);
    assert_eq!(vendors.fault(Service::Apollo), None);
}

#[tokio::test]
async fn wrong_control_requests_are_refused_and_change_nothing() {
    let vendors = vendors().await;
    for wrong in ["", "{", "[]", r#"{"effect":{"status":200}}"#] {
        let (status, told) = control(&vendors, Method::PUT, "faults/apollo", wrong).await;
        assert_eq!(status, 422);
        assert!(told["error"].as_str().unwrap().starts_with("not a fault"));
    }
    assert_eq!(vendors.fault(Service::Apollo), None);
    for (method, path) in [
        (Method::PUT, "faults/hubspot"),
        (Method::GET, "faults/hubspot"),
        (Method::DELETE, "faults/hubspot"),
        (Method::GET, "calls/hubspot"),
        (Method::DELETE, "calls/hubspot"),
    ] {
        let (status, told) = control(&vendors, method, path, r#"{"effect":"hang"}"#).await;
        assert_eq!(status, 404);
        assert!(told["error"].as_str().unwrap().contains("known are apollo"));
    }
}

#[tokio::test]
async fn the_log_is_read_and_cleared_over_http() {
    let vendors = vendors().await;
    statuses(&vendors, Service::Apollo, 2).await;
    statuses(&vendors, Service::OpenAi, 1).await;
    let (_, all) = control(&vendors, Method::GET, "calls", "").await;
    assert_eq!(all["calls"].as_array().unwrap().len(), 3);
    assert_eq!(all["dropped"], 0);
    assert_eq!(all["calls"][0]["outcome"], json!({"answered": 200}));
    assert_eq!(all["totals"]["apollo"]["ok"], 2);
    let (_, one) = control(&vendors, Method::GET, "calls/openai", "").await;
    assert_eq!(one["calls"].as_array().unwrap().len(), 1);
    assert_eq!(one["calls"][0]["service"], "openai");
    let (status, _) = control(&vendors, Method::DELETE, "calls/apollo", "").await;
    assert_eq!(status, 204);
    assert_eq!(vendors.calls(Service::Apollo), 0);
    assert_eq!(vendors.calls(Service::OpenAi), 1);
    let (status, _) = control(&vendors, Method::DELETE, "calls", "").await;
    assert_eq!(status, 204);
    assert!(vendors.records().is_empty());
}

// Start, latency, stop.

#[tokio::test]
async fn latency_follows_the_service_and_the_time_scale() {
    let config = VendorsConfig {
        time_scale: 0.5,
        ..VendorsConfig::default()
    };
    let vendors = Vendors::start(config).await.unwrap();
    let expected = Service::Apollo.latency(config.seed, 1, 0.5);
    assert!(expected >= Service::Apollo.latency_base() * 3 / 8);
    body(&client(), &vendors, Service::Apollo).await;
    let record = vendors.records().remove(0);
    assert!(record.finished_at.unwrap() - record.started_at >= expected);
}

#[tokio::test]
async fn a_bad_configuration_does_not_start() {
    let public = VendorsConfig {
        listen: ([0, 0, 0, 0], 0).into(),
        ..VendorsConfig::default()
    };
    let scaled = |time_scale| VendorsConfig {
        time_scale,
        ..VendorsConfig::default()
    };
    for config in [public, scaled(-1.0), scaled(f64::NAN), scaled(1e9)] {
        let error = Vendors::start(config).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    let vendors = vendors().await;
    let taken = VendorsConfig {
        listen: vendors.addr(),
        ..VendorsConfig::default()
    };
    let error = Vendors::start(taken).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn shutdown_gives_up_calls_that_hang_and_closes_the_port() {
    let vendors = vendors().await;
    vendors.set_fault(Service::OpenAi, Some(Fault::always(Effect::Hang)));
    let url = format!("{}/v1/chat/completions", vendors.base_url(Service::OpenAi));
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
    let client = client();
    let hanging = tokio::spawn(client.post(&url).json(&chat).send());
    let begun = vendors.wait_for(Service::OpenAi, |totals| totals.calls == 1);
    tokio::time::timeout(DEADLINE, begun).await.unwrap();
    vendors.shutdown().await;
    let answer = tokio::time::timeout(DEADLINE, hanging).await.unwrap();
    assert_eq!(answer.unwrap().unwrap().status(), 503);
    let refused = client.post(&url).json(&chat).send().await.unwrap_err();
    assert!(refused.is_connect());
}
