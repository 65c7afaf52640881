//! Text that is meant to look like a line of the log, or to steer the terminal that shows it.

use serde_json::{Value, json};

use crate::attacked::Attacked;

/// Begins a line of its own, if anything lets it.
const FORGED: &str = "x\r\n2026-01-01T00:00:00Z  INFO forged: line resumed\u{2028}\u{85}\u{1b}[2J\u{1b}]0;forged\u{7}\u{9b}31m";

/// Sends it in every place from which something may reach the log; answers what was logged.
fn logged(format: &str) -> String {
    let server = Attacked::set(&[], format);
    let json_header = "content-type: application/json\r\n";
    let post = |path: &str, body: &Value| {
        let text = body.to_string();
        let said = server.ask(&format!("POST /api/v1{path}"), json_header, text.as_bytes());
        assert!((200..500).contains(&said.status), "{path}: {}", said.text);
        said.json()
    };
    let encoded = "x%0d%0a2026-01-01T00:00:00Z%20%20INFO%20forged%1b%5b2J%c2%85%e2%80%a8";
    // Reasons, names, errors, kinds.
    post("/queue-management/pause-queue", &json!({"reason": FORGED}));
    post(
        "/queue-management/pause-queue",
        &json!({"reason": "looked"}),
    );
    let report = json!({"outcome": "failure", "error": FORGED});
    post("/queue-management/circuit-breakers/openai/report", &report);
    post(
        "/queue-management/pause-service",
        &json!({"service": FORGED}),
    );
    post("/queue-management/resume-queue", &json!({"reason": FORGED}));
    post(
        "/campaigns",
        &json!({"name": FORGED, "description": FORGED, "metadata": {FORGED: FORGED}}),
    );
    let worker =
        json!({"name": FORGED, "kinds": [FORGED], "services": ["openai"], "lease_seconds": 60});
    post("/worker/register", &worker);
    // Paths, queries, headers.
    for path in [
        "/api/v1/jobs/",
        "/services/",
        "/api/v1/queue-management/circuit-breakers/",
        "/",
    ] {
        let said = server.ask(&format!("GET {path}{encoded}"), "", b"");
        assert!(said.status < 500, "{path}: {}", said.text);
    }
    let headers = "user-agent: x\u{1b}[2J forged\r\nreferer: forged\r\nx-request-id: forged\r\n\
                   traceparent: forged\r\nidempotency-key: forged\r\n";
    server.ask("POST /api/v1/queue-management/pause-queue", headers, b"");
    server.ask(&format!("GET /api/v1/jobs?q={encoded}"), headers, b"");
    // Bytes that are no request.
    server.send(b"GET / HTTP/1.1\r\nx: \x1b[2J\r\nforged INFO line\r\n\r\n");
    server.send(b"\x1b[2Jforged\r\n2026-01-01T00:00:00Z  INFO forged\r\n\r\n");
    let (_, log) = server.server.process.terminate();
    assert!(log.contains("line changed"), "{log}");
    log
}

/// Characters that begin a line, or that a terminal takes for an order.
fn is_order(c: char) -> bool {
    c != '\n' && (c.is_control() || ['\u{2028}', '\u{2029}'].contains(&c))
}

#[test]
fn no_text_of_a_request_begins_a_line_of_the_log() {
    let log = logged("text");
    for line in log.lines() {
        assert!(!line.contains(is_order), "{}", line.escape_debug());
        assert!(
            !line.trim_start().starts_with("2026-01-01T00:00:00Z"),
            "{line}"
        );
    }
}

#[test]
fn no_text_of_a_request_breaks_a_line_of_the_log_as_json() {
    let log = logged("json");
    for line in log.lines() {
        assert!(!line.contains(is_order), "{}", line.escape_debug());
        let entry: Value = serde_json::from_str(line).expect(line);
        assert!(
            entry["timestamp"].is_string() && entry["level"].is_string(),
            "{line}"
        );
        assert_ne!(entry["timestamp"], "2026-01-01T00:00:00Z");
    }
}

/// The log at its most talkative holds no credential, right or wrong, wherever it was sent.
#[test]
fn no_credential_is_logged() {
    let server = Attacked::with_tokens();
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let path = "/api/v1/queue-management/pause-queue";
    for token in ["operator-secret", "sesame-secret"] {
        let bearer = format!("authorization: Bearer {token}\r\n");
        let cookie = format!("cookie: andon_session={token}\r\nsec-fetch-site: same-origin\r\n");
        server.ask(&format!("POST {path}"), &bearer, b"");
        server.ask(&format!("POST {path}"), &cookie, b"");
        server.ask("GET /", &cookie, b"");
        server.ask(&format!("GET /jobs?token={token}"), &cookie, b"");
        server.ask("POST /login", form, format!("token={token}").as_bytes());
        let odd = format!("authorization: Basic {token}\r\nx-api-key: {token}\r\n");
        server.ask(&format!("POST {path}"), &odd, b"");
    }
    let (_, log) = server.server.process.terminate();
    assert!(log.contains("queue_paused"), "{log}");
    assert!(!log.contains("-secret"), "{log}");
}
