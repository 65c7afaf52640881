//! Heads of requests that are too large, broken, or mean two things.

use crate::attacked::{Attacked, shown};

/// What a request with this head is answered: less than 500, and never as if it had been right.
#[track_caller]
fn is_refused(server: &Attacked, head: &str, statuses: &[u16]) {
    let said = server.send(head.as_bytes());
    let is_expected = statuses.contains(&said.status);
    assert!(is_expected, "{}: {}", shown(head.as_bytes()), said.text);
}

#[test]
fn heads_that_are_too_large_are_431_or_414() {
    let server = Attacked::open();
    let before = server.server.process.memory_kib();
    for _ in 0..20 {
        let long = "y".repeat(300_000);
        is_refused(
            &server,
            &format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n"),
            &[431],
        );
        is_refused(
            &server,
            &format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
            &[414, 431],
        );
        is_refused(
            &server,
            &format!("{long} / HTTP/1.1\r\nhost: localhost\r\n\r\n"),
            &[400, 431],
        );
        let many = "x: y\r\n".repeat(50_000);
        is_refused(
            &server,
            &format!("GET / HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"),
            &[431],
        );
    }
    let after = server.server.process.memory_kib();
    assert!(after < before + 32 * 1024, "{before} {after} KiB");
    server.is_well("");
}

#[test]
fn heads_that_are_broken_are_400_and_closed() {
    let server = Attacked::open();
    let host = "host: localhost\r\n";
    for head in [
        "\0\0\0\0\0\0\0\0\r\n\r\n".to_owned(),
        "\x16\x03\x01\x02\0\x01\0\x01\u{7f}\x03\x03\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        "GET /\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\n{host}a b: c\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{host}: c\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{host}x: a\0b\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{host}x: a\r\n folded\r\n\r\n"),
        format!("GET /a b HTTP/1.1\r\n{host}\r\n"),
        format!("GET /\x01 HTTP/1.1\r\n{host}\r\n"),
    ] {
        is_refused(&server, &head, &[400, 505]);
    }
    // The beginning of HTTP/2, which is not spoken: closed without a word.
    is_refused(&server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0]);
    server.is_well("");
}

/// Where a proxy in front and the server read two different ends of a request, its rest becomes a request
/// of somebody else.
#[test]
fn bodies_whose_end_can_be_read_in_two_ways_are_refused() {
    let server = Attacked::open();
    let smuggled = "POST /api/v1/queue-management/pause-queue HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let head =
        "POST /api/v1/campaigns HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    for lengths in [
        "content-length: 2\r\ncontent-length: 200\r\n",
        "content-length: 2, 200\r\n",
        "content-length: -1\r\n",
        "content-length: +2\r\n",
        "content-length: 18446744073709551616\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: chunked, gzip\r\n",
        "transfer-encoding: xchunked\r\n",
    ] {
        let request = format!("{head}{lengths}\r\n{{}}{smuggled}");
        is_refused(&server, &request, &[400, 501]);
    }
    for chunks in [
        "fffffffffffffffff\r\n{}",
        "-1\r\n{}\r\n",
        "2;\n{}\r\n0\r\n\r\n",
        "zz\r\n{}\r\n",
    ] {
        let request = format!("{head}transfer-encoding: chunked\r\n\r\n{chunks}{smuggled}");
        is_refused(&server, &request, &[400]);
    }
    // Chunks and a length: the chunks are read, the length is nothing, and the connection ends there.
    let both =
        format!("{head}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}");
    let said = server.send(both.as_bytes());
    assert!((400..500).contains(&said.status), "{}", said.text);
    assert_eq!(said.text.matches("HTTP/1.1 ").count(), 1, "{}", said.text);
    server.is_well("");
}

#[test]
fn requests_to_somebody_else_and_odd_methods_do_nothing() {
    let server = Attacked::open();
    for (line, statuses) in [
        ("CONNECT evil.example:443", &[400, 404, 405][..]),
        ("OPTIONS *", &[400, 404, 405]),
        ("TRACE /api/v1/queue-management/status", &[405]),
        ("BREW /api/v1/queue-management/pause-queue", &[405]),
        ("pause /api/v1/queue-management/pause-queue", &[405]),
        ("HEAD /api/v1/queue-management/pause-queue", &[405]),
        ("GET ftp://evil.example/x", &[403, 404]),
    ] {
        let said = server.ask(line, "", b"");
        assert!(statuses.contains(&said.status), "{line}: {}", said.text);
    }
    for host in [
        "evil.example",
        "",
        "localhost, evil.example",
        "localhost@evil.example",
        "\u{fc}",
    ] {
        let request = format!(
            "POST /api/v1/queue-management/pause-queue HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
             content-length: 0\r\n\r\n"
        );
        is_refused(&server, &request, &[400, 403]);
    }
    server.is_well("");
}

/// Whoever sends thousands of requests and reads no answer is not read any further.
#[test]
fn requests_without_end_on_one_connection_are_not_heaped_up() {
    use std::io::Write as _;
    let server = Attacked::open();
    server.is_well("");
    let before = server.server.process.memory_kib();
    let mut greedy = Vec::new();
    for _ in 0..20 {
        let stream = std::net::TcpStream::connect(server.address()).unwrap();
        stream
            .set_write_timeout(Some(std::time::Duration::from_millis(200)))
            .unwrap();
        let request = "GET /api/openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
        let mut open = &stream;
        // Until the server takes no more.
        for _ in 0..200 {
            if open.write_all(request.as_bytes()).is_err() {
                break;
            }
        }
        greedy.push(stream);
    }
    let after = server.server.process.memory_kib();
    assert!(after < before + 64 * 1024, "{before} {after} KiB");
    server.is_well("");
}
