//! A real server process, and raw bytes to it.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::cli::{self, PATIENCE};

/// A server process in a folder of its own.
pub(crate) struct Attacked {
    pub(crate) server: cli::Server,
    _folder: tempfile::TempDir,
}

/// What a server said.
pub(crate) struct Said {
    /// 0 if it closed the connection without a word.
    pub(crate) status: u16,
    /// Head and body as they came.
    pub(crate) text: String,
}

impl Said {
    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Value {
        let body = self
            .text
            .split_once("\r\n\r\n")
            .map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or(Value::Null)
    }
}

impl Attacked {
    /// Without tokens.
    pub(crate) fn open() -> Self {
        Self::set(&[], "text")
    }

    /// With tokens: the operator's is `operator-secret`.
    pub(crate) fn with_tokens() -> Self {
        Self::set(&["viewer", "worker", "automation", "operator"], "text")
    }

    /// With tokens for these roles, and everything logged in this format.
    pub(crate) fn set(roles: &[&str], log: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = String::from("[services.openai]\nthreshold = 1\n");
        for role in roles {
            let hash = Sha256::digest(format!("{role}-secret").as_bytes());
            let hash = hash.iter().fold(String::new(), |mut text, byte| {
                write!(text, "{byte:02x}").unwrap();
                text
            });
            writeln!(
                config,
                "[[tokens]]\nname = \"{role}\"\nrole = \"{role}\"\nsha256 = \"{hash}\""
            )
            .unwrap();
        }
        std::fs::write(folder.path().join("andon.toml"), config).unwrap();
        let mut command = cli::andon(folder.path());
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env("ANDON_LOG", "debug,sqlx=info")
            .env("ANDON_LOG_FORMAT", log);
        let (process, stdout) = cli::Process::told(&mut command);
        let line = stdout.recv_timeout(PATIENCE).expect("the server's line");
        let url = line.strip_prefix("listening on ").unwrap().to_owned();
        let server = cli::Server {
            process,
            url,
            stdout,
        };
        Self {
            server,
            _folder: folder,
        }
    }

    /// `127.0.0.1:…`
    pub(crate) fn address(&self) -> &str {
        self.server.url.strip_prefix("http://").unwrap()
    }

    /// What these bytes are answered until the connection is closed, which has to be soon.
    pub(crate) fn send(&self, bytes: &[u8]) -> Said {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may be closed before all of it has been taken.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => answer.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("it stays open ({error}): {}", shown(bytes)),
            }
        }
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
        Said {
            status: status.unwrap_or_default(),
            text,
        }
    }

    /// A request with this head, closed after its answer.
    pub(crate) fn ask(&self, method_and_path: &str, headers: &str, body: &[u8]) -> Said {
        let mut bytes = format!(
            "{method_and_path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-length: {}\r\n{headers}\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        self.send(&bytes)
    }

    /// It lives, and says that nothing has been stopped, started or lost.
    pub(crate) fn is_well(&self, headers: &str) {
        let said = self.ask("GET /api/v1/queue-management/status", headers, b"");
        assert_eq!(said.status, 200, "{}", said.text);
        assert_eq!(said.json()["data"]["queue"]["state"], "ACTIVE");
    }
}

/// The beginning of what was sent, for a failed test's text.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(200)];
    String::from_utf8_lossy(start).escape_debug().to_string()
}
