//! Bodies that are too large, too deep, packed, or no JSON at all.

use serde_json::{Value, json};

use crate::api_support::Server;
use crate::attacked::{Attacked, Said};

const JSON: &str = "content-type: application/json\r\n";

#[track_caller]
fn is_problem(said: &Said, statuses: &[u16], code: &str) {
    assert!(statuses.contains(&said.status), "{}", said.text);
    let problem = said.json();
    assert_eq!(problem["code"], code, "{}", said.text);
    assert!(!problem["detail"].as_str().unwrap().is_empty());
}

#[test]
fn bodies_that_are_too_large_are_413_and_are_not_kept() {
    let server = Attacked::open();
    server.is_well("");
    let before = server.server.process.memory_kib();
    let large = vec![b' '; 17 << 20];
    for path in [
        "/api/v1/campaigns",
        "/api/v1/worker/reports",
        "/api/v1/queue-management/pause-queue",
    ] {
        is_problem(
            &server.ask(&format!("POST {path}"), JSON, &large),
            &[413],
            "too_large",
        );
    }
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    let head = b"POST /api/v1/campaigns HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                 content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let endless = [head.as_slice(), &chunk.repeat(20), b"0\r\n\r\n"].concat();
    is_problem(&server.send(&endless), &[413], "too_large");
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    for path in ["/login", "/queue/pause-queue"] {
        let said = server.ask(&format!("POST {path}"), form, &vec![b'a'; 300 << 10]);
        assert_eq!(said.status, 413, "{path}: {}", said.text);
    }
    let after = server.server.process.memory_kib();
    assert!(after < before + 64 * 1024, "{before} {after} KiB");
    server.is_well("");
}

/// What is nested deeper than a reader of the answer can read would be a job that no worker can take.
#[test]
fn json_that_is_nested_too_deep_is_refused() {
    let server = Attacked::open();
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for depth in [101, 127, 128, 10_000, 1_000_000] {
            let deep = format!("{}0{}", open.repeat(depth), close.repeat(depth));
            let body = format!("{{\"name\":\"x\",\"metadata\":{{\"m\":{deep}}}}}");
            let said = server.ask("POST /api/v1/campaigns", JSON, body.as_bytes());
            is_problem(
                &said,
                &[400, 422],
                if depth < 125 { "invalid" } else { "malformed" },
            );
        }
    }
    server.is_well("");
}

/// The deepest payload and result that are taken are read again by whatever reads their answers.
#[tokio::test]
async fn what_is_taken_however_deep_is_given_out_again() {
    let server = Server::memory().await;
    let deep = |depth: usize| -> Value {
        serde_json::from_str(&format!("{}0{}", "[".repeat(depth), "]".repeat(depth))).unwrap()
    };
    let created = async |depth: usize| {
        let jobs = json!([{"kind": "k", "payload": deep(depth)}]);
        let body = json!({"name": "deep", "metadata": {"m": deep(depth)}, "jobs": jobs});
        server.post_json("/campaigns", body).await
    };
    let mut depth = 124;
    while created(depth).await.status != 201 {
        depth -= 1;
    }
    let campaign = created(depth).await.data()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    server
        .post(&format!("/campaigns/{campaign}/start"))
        .await
        .data();
    let worker = server.worker().await;
    let leases = server.claim(&worker, 1).await;
    assert_eq!(leases[0]["payload"], deep(depth));
    let job = leases[0]["job_id"].as_str().unwrap();
    let complete = json!({"token": leases[0]["token"], "result": deep(depth)});
    let report = json!({"job_id": job, "report": {"complete": complete}});
    let batch = json!({"worker_id": worker, "reports": [report]});
    let answer = server.post_json("/worker/reports", batch).await;
    assert_eq!(
        answer.data()["answers"][0]["outcome"]["ended"]["stage"],
        "COMPLETED"
    );
    for path in [format!("/jobs/{job}"), format!("/campaigns/{campaign}")] {
        server.get(&path).await.data();
    }
}

#[test]
fn bodies_that_are_packed_are_415_and_not_unpacked() {
    let server = Attacked::open();
    server.is_well("");
    let before = server.server.process.memory_kib();
    // What matters is what the head says: nothing is unpacked that could swell.
    for encoding in [
        "gzip",
        "deflate",
        "br",
        "zstd",
        "gzip, gzip, gzip",
        "identity, gzip",
        "x",
    ] {
        let headers = format!("{JSON}content-encoding: {encoding}\r\n");
        for path in ["/api/v1/campaigns", "/api/v1/worker/claim"] {
            let said = server.ask(&format!("POST {path}"), &headers, &vec![0x1f; 1 << 20]);
            is_problem(&said, &[415], "unsupported_media_type");
        }
    }
    let after = server.server.process.memory_kib();
    assert!(after < before + 32 * 1024, "{before} {after} KiB");
    server.is_well("");
}

#[test]
fn bodies_that_are_no_json_or_another_shape_are_4xx() {
    let server = Attacked::open();
    for (body, statuses) in [
        (&b"\xff\xfe{\0}\0"[..], &[400][..]),
        (b"{\"name\":\"\xff\"}", &[400]),
        (b"{\"name\":\"\\ud800\"}", &[400]),
        (b"{\"name\":\"a\\u0000b\"}", &[422]),
        (b"{\"name\":1e999999}", &[400, 422]),
        (b"{\"name\":\"x\",\"metadata\":{\"a\":1e400}}", &[400, 422]),
        (b"{\"name\":\"x\",\"name\":\"y\"}", &[201, 400, 422]),
        (b"{\"name\":\"x\"}{\"name\":\"y\"}", &[400]),
        (b"{\"name\":\"x\",\"__proto__\":{}}", &[422]),
        (b"[[]]", &[422]),
        (b"\"name\"", &[422]),
        (b"NaN", &[400]),
    ] {
        let said = server.ask("POST /api/v1/campaigns", JSON, body);
        assert!(
            statuses.contains(&said.status),
            "{}: {}",
            crate::attacked::shown(body),
            said.text
        );
    }
    // A great many small things of one body.
    let wide = format!(
        "{{\"name\":\"x\",\"metadata\":{{{}\"z\":0}}}}",
        "\"a\":0,".repeat(1_000_000)
    );
    let said = server.ask("POST /api/v1/campaigns", JSON, wide.as_bytes());
    assert!([201, 400, 422].contains(&said.status), "{}", said.text);
    let ids = format!("{{\"jobs\":[{}{{}}]}}", "{},".repeat(1_000_000));
    let said = server.ask(
        "POST /api/v1/campaigns/01890a5d-ac96-774b-bcce-b302099a8057/jobs",
        JSON,
        ids.as_bytes(),
    );
    assert!((400..500).contains(&said.status), "{}", said.text);
    server.is_well("");
}
