//! A TCP proxy that cuts connections: where a commit is asked for, or before its answer comes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::Result;

/// Which side of the other end's work is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The request does not arrive.
    Request,
    /// The request arrives, and its answer does not: its outcome is not known.
    Answer,
}

#[derive(Debug, Clone, Copy)]
struct Armed {
    words: &'static [&'static str],
    cut: Cut,
    times: u32,
}

/// A proxy. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    armed: Arc<Mutex<Option<Armed>>>,
    made: Arc<AtomicU64>,
}

impl Proxy {
    /// Leads to `target`.
    pub(crate) async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let proxy = Self {
            address: listener.local_addr()?,
            target: Arc::new(Mutex::new(target)),
            armed: Arc::default(),
            made: Arc::default(),
        };
        let serving = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let proxy = serving.clone();
                tokio::spawn(async move { proxy.pass(client).await });
            }
        });
        Ok(proxy)
    }

    /// Connections that are made from now on lead there.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Cuts the next `times` connections over which one of these words is sent.
    pub(crate) fn arm(&self, words: &'static [&'static str], cut: Cut, times: u32) {
        *self.lock() = Some(Armed { words, cut, times });
    }

    pub(crate) fn disarm(&self) {
        *self.lock() = None;
    }

    /// How many connections were cut so far.
    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Armed>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what is sent is to be cut, and on which side.
    fn cuts(&self, sent: &[u8]) -> Option<Cut> {
        let mut armed = self.lock();
        let rule = armed.as_mut().filter(|rule| rule.times > 0)?;
        let is_said = |word: &str| sent.windows(word.len()).any(|part| part == word.as_bytes());
        if !rule.words.iter().any(|word| is_said(word)) {
            return None;
        }
        rule.times -= 1;
        self.made.fetch_add(1, Ordering::SeqCst);
        Some(rule.cut)
    }

    async fn pass(self, mut client: TcpStream) {
        let target = *self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(mut server) = TcpStream::connect(target).await else {
            return;
        };
        let _best_effort = (client.set_nodelay(true), server.set_nodelay(true));
        let mut asked = vec![0; 64 * 1024];
        let mut answered = vec![0; 64 * 1024];
        loop {
            tokio::select! {
                read = client.read(&mut asked) => {
                    let Ok(count @ 1..) = read else { return };
                    let cut = self.cuts(&asked[..count]);
                    if cut == Some(Cut::Request) || server.write_all(&asked[..count]).await.is_err() {
                        return;
                    }
                    if cut == Some(Cut::Answer) {
                        // The answer has come, and nobody is told.
                        let _dropped = server.read(&mut answered).await;
                        return;
                    }
                }
                read = server.read(&mut answered) => {
                    let Ok(count @ 1..) = read else { return };
                    if client.write_all(&answered[..count]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}
