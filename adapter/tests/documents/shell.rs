//! Blocks of shell: every `andon …` is typed, as it stands, against a server that really runs.
//!
//! A block is carried out in a folder of its own, line by line. `andon serve` and `andon worker` run until
//! the block ends. A block without `andon serve` finds a server that runs already, with a campaign on it.
//! Where a block has an `andon.toml` before it, that is the configuration; whatever it calls at example.com
//! is answered on this machine.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cli::{self, Process, Server};
use crate::markdown::{Page, root};

/// Commands that take their time, or go to a line that is not there: only their command lines are read.
const ONLY_PARSED: [(&str, &str); 4] = [
    ("demo", "adapter/tests/demo.rs runs it to its end"),
    (
        "doctor",
        "adapter/tests/doctor.rs runs it, and it fails for the jobs that wait in these pages",
    ),
    (
        "flow",
        "adapter/tests/flow.rs runs it against a line with workers",
    ),
    (
        "drill",
        "adapter/tests/drill.rs runs it against a line with workers",
    ),
];

/// What cargo is told in pages, beside `cargo run … -- ARGS`, and why it is not run here.
const CARGO: [(&str, &str); 5] = [
    (
        "xtask",
        "xtask's own tests read each of these lines with its parser",
    ),
    ("build", "these tests are built by it"),
    (
        "test",
        "these tests are run by it; that its targets exist is checked",
    ),
    (
        "nextest",
        "these tests are run by it; that its targets exist is checked",
    ),
    (
        "run -p andon-model",
        "andon-model has tests of its own command line",
    ),
];

/// Exit codes of a command that was understood and carried out: done, refused by a rule, stale.
const CARRIED_OUT: [i32; 3] = [0, 3, 4];

/// The services of a server where no page says which.
const SERVICES: [&str; 7] = [
    "crm",
    "openai",
    "apollo",
    "millionverifier",
    "perplexity",
    "instantly",
    "NAME",
];

/// One block that is being carried out.
struct Session {
    folder: tempfile::TempDir,
    server: Option<Server>,
    workers: Vec<Process>,
    variables: Vec<(String, String)>,
}

/// Carries out a page's block of shell.
pub(crate) fn run(page: &Page, at: usize) -> Result<(), String> {
    let configuration = page.blocks[..at]
        .iter()
        .rfind(|block| block.language == "toml" && block.not_run.is_none())
        .map(|block| block.text.as_str());
    let block = &page.blocks[at];
    let lines = lines(&block.text, block.language == "console");
    let mut session = Session::prepared(configuration);
    let needs_server = |line: &String| {
        let words = words(line);
        words.first().is_some_and(|first| first == "andon")
            && words.get(1).is_none_or(|sub| !is_only_parsed(sub))
    };
    let serves = |line: &String| line.starts_with("andon serve");
    if lines.iter().any(needs_server) && !lines.iter().any(serves) {
        let services: Vec<&str> = match configuration {
            Some(_) => Vec::new(),
            None => SERVICES
                .iter()
                .flat_map(|service| ["--service", service])
                .collect(),
        };
        session.serve(&services);
    }
    lines.iter().try_for_each(|line| session.carry_out(line))
}

/// The lines to be typed: comments left out, those that end in a backslash joined with the next.
fn lines(text: &str, is_console: bool) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let typed = joined.lines().filter_map(|line| {
        if is_console {
            line.strip_prefix("$ ")
        } else {
            Some(line)
        }
    });
    typed
        .map(|line| without_comment(line).trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

fn without_comment(line: &str) -> &str {
    match line.find(" #") {
        Some(at) => &line[..at],
        None if line.starts_with('#') => "",
        None => line,
    }
}

/// The words of a line, as a shell splits it.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (c, quote) {
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (_, Some(open)) if c == open => quote = None,
            (' ', None) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn is_only_parsed(subcommand: &str) -> bool {
    ONLY_PARSED.iter().any(|(name, _)| *name == subcommand)
}

impl Session {
    /// A folder with the page's configuration and a file of calls.
    fn prepared(configuration: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mut service, mut variables) = ("crm", Vec::new());
        if let Some(text) = configuration {
            let vendor = answering();
            std::fs::write(folder.path().join("andon.toml"), at_home(text, &vendor)).unwrap();
            for name in text.split("env = \"").skip(1) {
                let (name, _) = name.split_once('"').expect("a closed name");
                variables.push((name.to_owned(), "secret".to_owned()));
            }
            if let Some((_, rest)) = text.split_once("[services.") {
                service = rest.split_once(']').expect("a closed head").0;
            }
        }
        let call = format!("{{\"service\":\"{service}\",\"method\":\"GET\",\"path\":\"/\"}}\n");
        std::fs::write(folder.path().join("calls.jsonl"), call).unwrap();
        Self {
            folder,
            server: None,
            workers: Vec::new(),
            variables,
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the server, and puts a campaign on it that ids in commands can be of.
    fn serve(&mut self, args: &[&str]) {
        let server = cli::serve(self.path(), args);
        let submit = ["submit", "calls.jsonl", "--name", "prepared", "--json"];
        let submitted = server.run(self.path(), &submit).expect(0).json();
        let jobs = server
            .run(self.path(), &["jobs", "--json"])
            .expect(0)
            .json();
        let ids = [
            ("CAMPAIGN", &submitted["campaign_id"]),
            ("JOB", &jobs["items"][0]["id"]),
        ];
        for (name, id) in ids {
            let id = id.as_str().expect("an id").to_owned();
            self.variables.push((name.to_owned(), id));
        }
        self.server = Some(server);
    }

    fn carry_out(&mut self, line: &str) -> Result<(), String> {
        let line = line.trim_end_matches('&').trim();
        let all = words(line);
        let args: Vec<&str> = all.iter().map(String::as_str).collect();
        match args[..] {
            ["andon", "serve", ref rest @ ..] => {
                parse(self.path(), &args[1..])?;
                self.serve(&here(rest));
                Ok(())
            }
            ["andon", "worker", ..] => {
                parse(self.path(), &args[1..])?;
                let mut command = self.command(&args[1..]);
                command.stdout(std::process::Stdio::null());
                self.workers.push(Process::spawn(&mut command));
                self.until_it_works()
            }
            ["andon", subcommand, ..] if is_only_parsed(subcommand) => {
                parse(self.path(), &args[1..])
            }
            ["andon", ref rest @ ..] => self.type_in(line, rest),
            ["cargo", ref rest @ ..] => cargo(self.path(), rest),
            _ => Err(format!(
                "`{line}`: nothing in {} carries that out; say `<!-- not run: why -->` before the block",
                file!()
            )),
        }
    }

    /// Waits until the server knows the worker that was just started.
    fn until_it_works(&self) -> Result<(), String> {
        let started = Instant::now();
        while started.elapsed() < cli::PATIENCE {
            let status = cli::ended(&mut self.command(&["status", "--json"]))
                .expect(0)
                .json();
            let alive = status["workers"].as_array().map_or(0, Vec::len);
            if alive >= self.workers.len() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("the worker did not register with the server".to_owned())
    }

    /// Runs a command to its end. Ids that a page names in capitals are those of the campaign that is there.
    fn type_in(&self, line: &str, args: &[&str]) -> Result<(), String> {
        let known = |arg: &&str| {
            let name = arg.trim_start_matches('$').trim_end_matches("_ID");
            let found = self.variables.iter().find(|(variable, _)| variable == name);
            found.map_or((*arg).to_owned(), |(_, id)| id.clone())
        };
        let args: Vec<String> = args.iter().map(known).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ended = cli::ended(&mut self.command(&args));
        // A person has a terminal to be asked on.
        let is_asking = ended.code == 2 && ended.stderr.contains("there is no terminal to ask on");
        if CARRIED_OUT.contains(&ended.code) || is_asking {
            return Ok(());
        }
        Err(format!(
            "`{line}` ends with {}: {}{}",
            ended.code, ended.stdout, ended.stderr
        ))
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = cli::andon(self.path());
        if let Some(server) = &self.server {
            command.env("ANDON_SERVER", &server.url);
        }
        command
            .envs(self.variables.iter().cloned())
            .args(here(args));
        command
    }
}

/// Arguments without the places of a page's own server: this one is on another port and another database.
fn here<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let mut kept = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match *arg {
            "--listen" | "--server" | "--database" => {
                args.next();
            }
            arg => kept.push(arg),
        }
    }
    kept
}

/// Has the program read a command line and no more. A last `--help` is reached only when every argument
/// before it was understood; it ends the program before it does anything.
fn parse(folder: &Path, args: &[&str]) -> Result<(), String> {
    let ended = cli::ended(cli::andon(folder).args(args).arg("--help"));
    match ended.code {
        0 => Ok(()),
        _ => Err(format!("`andon {}`: {}", args.join(" "), ended.stderr)),
    }
}

/// What pages tell cargo.
fn cargo(folder: &Path, args: &[&str]) -> Result<(), String> {
    let told: Vec<&str> = args
        .iter()
        .copied()
        .filter(|arg| *arg != "--release")
        .collect();
    if let ["run", "--", ref ours @ ..] = told[..] {
        return parse(folder, ours);
    }
    let told = told.join(" ");
    if !CARGO
        .iter()
        .any(|(known, _)| told.split(' ').zip(known.split(' ')).all(|(a, b)| a == b))
    {
        return Err(format!("`cargo {told}` is not on the list in {}", file!()));
    }
    match told.split_once("--test ") {
        Some((_, rest)) => is_test_target(rest.split(' ').next().unwrap_or_default()),
        None => Ok(()),
    }
}

fn is_test_target(name: &str) -> Result<(), String> {
    let is_there = ["tests", "adapter/tests", "model/tests"]
        .iter()
        .any(|folder| {
            let path = root().join(folder).join(name);
            path.join("main.rs").exists() || path.with_extension("rs").exists()
        });
    is_there
        .then_some(())
        .ok_or_else(|| format!("there is no test `{name}`"))
}

/// The configuration, with this machine in the place of example.com.
fn at_home(text: &str, vendor: &str) -> String {
    let mut parts = text.split("https://");
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(['"', '/']).unwrap_or(part.len());
        if part[..end].ends_with("example.com") {
            let _ = write!(all, "{vendor}{}", &part[end..]);
        } else {
            let _ = write!(all, "https://{part}");
        }
    }
    all
}

/// The URL of somebody who answers every request with 200, for as long as the test runs.
fn answering() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\
                connection: close\r\n\r\n{}";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}
