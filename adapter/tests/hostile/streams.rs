//! Readers of the event stream: numbers that cannot be, and readers that never read.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::attacked::Attacked;
use crate::cli::PATIENCE;

const EVENTS: &str = "/api/v1/queue-management/events";

#[test]
fn last_event_ids_that_cannot_be_are_400_or_wait_for_what_comes() {
    let server = Attacked::open();
    let digits = "9".repeat(40_000);
    for id in [
        "-1",
        "1.5",
        "0x10",
        "",
        "9223372036854775808",
        "1 2",
        "\u{663}",
        "NaN",
        &digits,
    ] {
        let header = format!("last-event-id: {id}\r\n");
        let said = server.ask(&format!("GET {EVENTS}"), &header, b"");
        assert_eq!(said.status, 400, "{id:.20}: {}", said.text);
    }
    // The largest number: nothing comes after it, and nothing breaks.
    let request = format!(
        "GET {EVENTS} HTTP/1.1\r\nhost: localhost\r\nlast-event-id: {}\r\n\r\n",
        i64::MAX
    );
    let head = std::thread::scope(|scope| {
        let stream = std::net::TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let reading = scope.spawn(move || {
            use std::io::{Read as _, Write as _};
            let mut stream = stream;
            stream.write_all(request.as_bytes()).unwrap();
            let mut head = [0; 12];
            stream.read_exact(&mut head).unwrap();
            head
        });
        reading.join().unwrap()
    });
    assert_eq!(&head, b"HTTP/1.1 200");
    server.is_well("");
}

/// A reader with hardly any room of its own, so that the server is the one that would have to keep.
async fn reader(server: &Attacked, last: Option<i64>) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket
        .connect(server.address().parse().unwrap())
        .await
        .unwrap();
    let last = last.map_or(String::new(), |last| format!("last-event-id: {last}\r\n"));
    let request = format!("GET {EVENTS} HTTP/1.1\r\nhost: localhost\r\n{last}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// 200 readers that never read, while thousands of events of a kilobyte pass: half of them from now on,
/// half from the beginning of the journal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_never_read_cost_a_bounded_memory() {
    let server = Attacked::open();
    let client = reqwest::Client::new();
    let pause = format!("{}/api/v1/queue-management/pause-queue", server.server.url);
    let told = async |count: usize| {
        for _ in 0..count {
            let body = json!({"reason": "x".repeat(1000)});
            let answer = client.post(&pause).json(&body).send().await.unwrap();
            assert_eq!(answer.status(), 200);
        }
    };
    told(200).await;
    let before = server.server.process.memory_kib();
    let mut readers = Vec::new();
    for number in 0..200 {
        readers.push(reader(&server, (number % 2 == 0).then_some(0)).await);
    }
    told(3000).await;
    let after = server.server.process.memory_kib();
    let grown = after.saturating_sub(before);
    // Half a mebibyte each: their events alone would be three.
    assert!(grown < 100 * 1024, "{before} {after} KiB");
    drop(readers);
    // Whoever reads is told of all that came, in order, with the others gone or not.
    let started = Instant::now();
    let mut response = client
        .get(format!("{}{EVENTS}", server.server.url))
        .header("last-event-id", "3000")
        .send()
        .await
        .unwrap();
    let mut text = String::new();
    while !text.contains("id: 3200\n") {
        assert!(started.elapsed() < PATIENCE, "{} bytes", text.len());
        let chunk = tokio::time::timeout(Duration::from_secs(30), response.chunk()).await;
        text.push_str(&String::from_utf8_lossy(&chunk.unwrap().unwrap().unwrap()));
    }
}
