//! Whoever sends slowly, or reads slowly, is cut off in bounded time. Connections without a word and heads
//! that never end are tested beside the code that accepts them.

use std::time::Duration;

use andon_adapter::api::limits::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::api_support::{Server, Set};

/// A server that waits for a body for a moment only.
async fn impatient() -> Server {
    Server::memory_set(Set {
        limits: Limits {
            body_timeout: Duration::from_millis(100),
            ..Limits::default()
        },
        ..Set::default()
    })
    .await
}

/// What a connection is answered before it is closed.
async fn answer_to(server: &Server, sent: &str) -> String {
    let address = server.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_body_that_never_ends_is_408_and_closed_and_nothing_happens() {
    let server = impatient().await;
    let before = server.picture().await;
    for path in [
        "/api/v1/queue-management/pause-queue",
        "/api/v1/campaigns",
        "/api/v1/worker/claim",
        "/api/v1/worker/reports",
        "/queue/pause-queue",
        "/login",
    ] {
        for body in [
            "content-length: 100\r\n\r\n{\"reason\":",
            "transfer-encoding: chunked\r\n\r\n3\r\n{\"r\r\n",
        ] {
            let kind = if path.starts_with("/api") {
                "application/json"
            } else {
                "application/x-www-form-urlencoded"
            };
            let head =
                format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\n");
            let answer = answer_to(&server, &format!("{head}{body}")).await;
            assert!(answer.starts_with("HTTP/1.1 408 "), "{path}: {answer}");
            assert!(
                answer.contains("the body did not arrive within"),
                "{answer}"
            );
        }
    }
    assert_eq!(server.picture().await, before);
}

#[tokio::test]
async fn a_reader_for_whom_there_is_no_stream_left_is_told_so() {
    let server = Server::memory_set(Set {
        limits: Limits {
            streams_max: 2,
            ..Limits::default()
        },
        ..Set::default()
    })
    .await;
    let path = "/queue-management/events";
    let open = async || {
        let request = server.request(reqwest::Method::GET, path);
        request.send().await.unwrap()
    };
    let (first, second) = (open().await, open().await);
    assert_eq!(
        (first.status().as_u16(), second.status().as_u16()),
        (200, 200)
    );
    let refused = server.get(path).await;
    refused.refused(503, "too_many_streams");
    assert_eq!(refused.header("retry-after"), "5");
    // Everybody else goes on, and the place is free again once a reader has left.
    server.status().await;
    drop(first);
    while open().await.status() != 200 {}
}
