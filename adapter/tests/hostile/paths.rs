//! Paths, queries and numbers that are meant to lead elsewhere.

use crate::attacked::Attacked;

#[test]
fn no_way_of_writing_a_path_leads_past_the_roles() {
    let server = Attacked::with_tokens();
    let status = "api/v1/queue-management/status";
    for path in [
        format!("/health/../{status}"),
        format!("/health/%2e%2e/{status}"),
        format!("/health/..%2f{status}"),
        format!("/assets/../{status}"),
        format!("/assets/x/..%2f..%2f{status}"),
        "/api/docs/../v1/queue-management/status".to_owned(),
        "/api/docs/%2e%2e/v1/queue-management/status".to_owned(),
        format!("/login/../{status}"),
        format!("//{status}"),
        format!("/./{status}"),
        format!("/;/{status}"),
        format!("/{status}/"),
        format!("/{status};x=/health/live"),
        format!("/{status}?x=/health/live"),
        format!("/{status}%00"),
        format!("/{status}%0d%0ax:%20y"),
        format!("/{status}#/health/live"),
        "/API/v1/queue-management/status".to_owned(),
        "/api/v1/queue-management/%73tatus".to_owned(),
        format!("http://localhost/{status}"),
        format!("http://localhost/health/live/../../{status}"),
    ] {
        let said = server.ask(&format!("GET {path}"), "", b"");
        assert!(
            [303, 400, 401, 404].contains(&said.status),
            "{path}: {}",
            said.text
        );
        assert!(
            !said.text.contains("circuit_breakers"),
            "{path}: {}",
            said.text
        );
    }
    for path in [
        "/api/v1/queue-management/resume-queue",
        "/api/v1/queue-management/circuit-breakers/openai/reset",
        "/api/v1/queue-management/circuit-breakers/%2e%2e/reset",
        "/api/v1/queue-management/circuit-breakers/openai%2freset/report",
        "/api/v1/worker/../queue-management/resume-queue",
        "/api/v1/worker/%2e%2e/queue-management/resume-queue",
        "/api/v1/jobs/x/../../queue-management/resume-queue",
    ] {
        let worker = "authorization: Bearer worker-secret\r\n";
        let said = server.ask(&format!("POST {path}"), worker, b"");
        assert!((400..500).contains(&said.status), "{path}: {}", said.text);
    }
    server.is_well("authorization: Bearer operator-secret\r\n");
}

#[test]
fn no_path_leads_to_a_file_or_into_a_header() {
    let server = Attacked::open();
    for path in [
        "/assets/x/../../../../etc/passwd",
        "/assets/x/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/assets/x/%2e%2e%2fCargo.toml",
        "/assets/%2fetc/passwd",
        "/assets/x/andon.css%00",
        "/assets/x/..\\..\\etc",
        "/api/docs/../../etc/passwd",
        "/api/docs/..%2f..%2fetc%2fpasswd",
        "/api/docs/%00",
        "/jobs/%0d%0aset-cookie:%20a=b",
        "/services/%0d%0aset-cookie:%20a=b",
        "/campaigns?next=%0d%0aset-cookie:%20a=b",
        "/login?next=%0d%0aset-cookie:%20a=b",
        "/api/v1/campaigns/%ff",
        "/api/v1/queue-management/circuit-breakers/%ff%fe",
        "/api/v1/queue-management/circuit-breakers/%F0%9F%92%A9",
        "/api/v1/queue-management/circuit-breakers/%",
        "/api/v1/queue-management/paused-jobs/%00",
        "/api/v1/jobs/00000000-0000-0000-0000-000000000000'--",
    ] {
        let said = server.ask(&format!("GET {path}"), "", b"");
        assert!(said.status < 500, "{path}: {}", said.text);
        assert!(
            !said.text.contains("root:") && !said.text.contains("[package]"),
            "{path}"
        );
        let head = said.text.split("\r\n\r\n").next().unwrap().to_lowercase();
        assert!(!head.contains("\r\nset-cookie"), "{path}: {head}");
    }
    server.is_well("");
}

#[test]
fn queries_of_every_odd_kind_are_4xx_or_answered() {
    let server = Attacked::open();
    let many = "status=RUNNING&".repeat(2_000);
    for path in [
        "/api/v1/jobs?per_page=99999999999999999999",
        "/api/v1/jobs?per_page=-1",
        "/api/v1/jobs?page=9223372036854775807&per_page=200",
        "/api/v1/jobs?page=18446744073709551615",
        "/api/v1/jobs?after=%00",
        "/api/v1/jobs?after=00000000-0000-0000-0000-000000000000",
        "/api/v1/jobs?status=%27%20OR%201=1--",
        "/api/v1/jobs?kind=%00",
        "/api/v1/jobs?kind=%ff",
        "/api/v1/campaigns?q=%25%25%25%5f%5c",
        "/api/v1/campaigns?q=%00",
        "/api/v1/campaigns?q=%F0%9F%92%A9",
        "/api/v1/queue-management/history?after_seq=9223372036854775807",
        "/api/v1/queue-management/history?before_seq=-9223372036854775808",
        "/api/v1/queue-management/history?from=9999-12-31T23:59:59.999999Z",
        "/api/v1/queue-management/history?from=0000-01-01T00:00:00Z",
        "/api/v1/queue-management/history?from=1e9",
        "/api/v1/queue-management/history?to=-292277-01-01T00:00:00Z",
        "/api/v1/queue-management/series/jobs?from=9999-12-31T23:59:59Z",
        "/api/v1/queue-management/series/calls?minutes=18446744073709551615",
        "/api/v1/worker/gate?after_version=18446744073709551615",
        "/api/v1/worker/gate?worker_id=%00",
        "/jobs?page=99999999999999999999&status=%00",
        "/campaigns?page=9223372036854775807&q=%00",
        "/history?after_seq=9223372036854775807&kind=%00",
        "/?said=%00&keep=%ff",
        &format!("/api/v1/jobs?{many}"),
        &format!("/api/v1/jobs?status={}", "RUNNING,".repeat(5_000)),
    ] {
        let said = server.ask(&format!("GET {path}"), "", b"");
        assert!(
            (200..500).contains(&said.status),
            "{path:.100}: {}",
            said.text
        );
    }
    server.is_well("");
}
