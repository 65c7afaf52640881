//! Accepting connections within bounds: how many there are, how long a request's head may take, how large
//! it may be, and how long an answer may wait to be taken. (`axum::serve` sets none of them.)

use std::pin::pin;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::Layer as _;

use super::full::Door;
use super::places::Places;
use super::taken::Taken;
use crate::ops::guesses::Peer;

/// What connections are bounded by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// How many there may be; one more is told so and closed.
    pub(super) connections_max: usize,
    /// How many of them one address may have.
    pub(super) connections_of_address_max: usize,
    /// How long a request's head may take, from when the connection was made or became idle.
    pub(super) head_timeout: Duration,
    /// How large a request's head may be, in bytes.
    pub(super) head_bytes_max: usize,
    /// For how long a reader may take nothing of what is sent to it.
    pub(super) taken_timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            // Half: a proxy's address is many people's, and no address keeps all others out.
            connections_of_address_max: 2048,
            // Longer than clients keep an idle connection (90 seconds is usual), so that it is they
            // who close it, and never a request that meets a closing one.
            head_timeout: Duration::from_secs(100),
            head_bytes_max: 64 * 1024,
            taken_timeout: Duration::from_mins(1),
        }
    }
}

/// How long to wait after a connection could not be accepted: out of file descriptors, most likely.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves until told to stop, then lets open requests end.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    stop: CancellationToken,
) {
    // Told to look which protocol it is, the builder would wait for the first bytes without a timer.
    let mut http = Builder::new(TokioExecutor::new()).http1_only();
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_timeout)
        .max_buf_size(bounds.head_bytes_max);
    let places = Places::new(bounds.connections_max, bounds.connections_of_address_max);
    let door = Door::new();
    // Whoever gives up waiting for this function drops it, and with it every connection.
    let cut = CancellationToken::new();
    let _cut_when_dropped = cut.clone().drop_guard();
    while let Some((stream, peer)) = accept(&listener, &stop).await {
        let place = match places.take(peer) {
            Ok(place) => place,
            Err(full) => {
                door.turn_away(stream, full);
                continue;
            }
        };
        // Answers are small: waiting for more of them to fill a packet only delays them.
        let _best_effort = stream.set_nodelay(true);
        let stream = Taken::new(stream, bounds.taken_timeout);
        let service = TowerToHyperService::new(Extension(peer).layer(router.clone()));
        let connection = http
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        let (stop, cut) = (stop.clone(), cut.clone());
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let whole = async {
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = stop.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            };
            if let Some(Err(error)) = cut.run_until_cancelled(whole).await {
                tracing::debug!(cause = %error, "a connection broke off");
            }
            drop(place);
        });
    }
    drop(listener);
    places.all_free().await;
}

/// The next connection, and from where; none once told to stop.
async fn accept(listener: &TcpListener, stop: &CancellationToken) -> Option<(TcpStream, Peer)> {
    loop {
        match stop.run_until_cancelled(listener.accept()).await? {
            Ok((stream, from)) => return Some((stream, Peer::at(from.ip()))),
            Err(error) => {
                tracing::warn!(cause = %error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn start(bounds: Bounds) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let slow = get(async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            "done"
        });
        let endless = get(async || {
            let chunks =
                futures::stream::repeat(Ok::<_, std::convert::Infallible>([b'x'; 4096].to_vec()));
            axum::body::Body::from_stream(chunks)
        });
        let router = Router::new()
            .route("/endless", endless)
            .route("/slow", slow)
            .route("/", get(async || "fine"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, router, bounds, stop.clone()));
        (addr, stop, serving)
    }

    async fn exchange(addr: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _reset = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn a_head_that_never_ends_or_is_too_large_is_cut_off() {
        let bounds = Bounds {
            head_timeout: Duration::from_millis(100),
            head_bytes_max: 16 * 1024,
            ..Bounds::default()
        };
        let (addr, _stop, _serving) = start(bounds).await;
        let fine = exchange(
            addr,
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        )
        .await;
        assert!(
            fine.starts_with("HTTP/1.1 200") && fine.ends_with("fine"),
            "{fine}"
        );
        let slow = exchange(addr, "GET / HTTP/1.1\r\nhost:").await;
        assert!(!slow.contains("200"), "{slow}");
        let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(64 * 1024));
        assert!(exchange(addr, &large).await.starts_with("HTTP/1.1 431"));
    }

    /// Asks again and again, until there is a place.
    async fn answered_in_the_end(addr: SocketAddr, request: &str) {
        let answered = async { while !exchange(addr, request).await.ends_with("fine") {} };
        let in_time = tokio::time::timeout(Duration::from_mins(1), answered).await;
        assert!(in_time.is_ok(), "its place is never free");
    }

    /// Whether the server closes this connection, however long that takes.
    async fn is_closed(stream: &mut TcpStream) -> bool {
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest);
        let read = tokio::time::timeout(Duration::from_mins(1), read).await;
        read.is_ok()
    }

    #[tokio::test]
    async fn connections_that_say_nothing_or_never_end_a_head_are_closed() {
        let bounds = Bounds {
            head_timeout: Duration::from_millis(100),
            ..Bounds::default()
        };
        let (addr, _stop, _serving) = start(bounds).await;
        for said in [
            "",
            "G",
            // The beginning of HTTP/2, which is not spoken.
            "PRI * HTTP/2.0\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n",
            // A whole exchange, and then nothing more.
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        ] {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            assert!(is_closed(&mut stream).await, "{said:?}");
        }
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_loses_its_place() {
        let bounds = Bounds {
            connections_max: 1,
            taken_timeout: Duration::from_millis(100),
            ..Bounds::default()
        };
        let (addr, _stop, _serving) = start(bounds).await;
        let mut greedy = TcpStream::connect(addr).await.unwrap();
        let request = b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n";
        greedy.write_all(request).await.unwrap();
        // The only place is free again, though the reader is still there.
        let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        answered_in_the_end(addr, request).await;
        drop(greedy);
    }

    #[tokio::test]
    async fn who_finds_no_place_is_told_so_and_the_others_go_on() {
        let bounds = Bounds {
            connections_max: 1,
            ..Bounds::default()
        };
        let (addr, _stop, _serving) = start(bounds).await;
        let mut first = TcpStream::connect(addr).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        first.write_all(request).await.unwrap();
        let mut buffer = [0; 1024];
        assert!(first.read(&mut buffer).await.unwrap() > 0);
        let told = exchange(addr, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
        assert!(told.contains("\r\nretry-after: 5\r\n"), "{told}");
        assert!(told.contains("\"code\":\"too_many_connections\""), "{told}");
        first.write_all(request).await.unwrap();
        assert!(first.read(&mut buffer).await.unwrap() > 0);
    }

    #[tokio::test]
    async fn one_address_keeps_no_other_out() {
        let bounds = Bounds {
            connections_of_address_max: 1,
            ..Bounds::default()
        };
        let (addr, _stop, _serving) = start(bounds).await;
        let first = TcpStream::connect(addr).await.unwrap();
        let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let told = exchange(addr, request).await;
        assert!(
            told.starts_with("HTTP/1.1 429 Too Many Requests\r\n"),
            "{told}"
        );
        assert!(
            told.contains("this address has all the connections"),
            "{told}"
        );
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut another = socket.connect(addr).await.unwrap();
        another.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        another.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("fine"), "{answer}");
        drop(first);
        answered_in_the_end(addr, request).await;
    }

    #[tokio::test]
    async fn open_requests_end_after_it_was_told_to_stop_and_new_ones_are_not_taken() {
        let (addr, stop, serving) = start(Bounds::default()).await;
        let request = "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n";
        let open = tokio::spawn(async move { exchange(addr, request).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.cancel();
        assert!(open.await.unwrap().ends_with("done"));
        serving.await.unwrap();
        assert!(TcpStream::connect(addr).await.is_err());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_cuts_off_what_is_open() {
        let (addr, stop, serving) = start(Bounds::default()).await;
        let request = "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n";
        let open = tokio::spawn(async move { exchange(addr, request).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.cancel();
        serving.abort();
        assert_eq!(open.await.unwrap(), "");
    }
}
