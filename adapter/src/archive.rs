//! Archives of the journal: files of JSON lines, chained by SHA-256 (R31).
//!
//! Each line is one entry, and ends with a hash over the hash of the line before it and its own text. So a
//! line that is changed, taken out, added or moved breaks the chain at its place; what is cut off at the end
//! is noticed by the database, which keeps the hash of the last line. A file is named by the numbers of its
//! first and its last entry.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use andon::{Entry, Ledger};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::store::{ChainHash, JournalRow};

/// What a line ends with: its hash.
const HASH: &str = ",\"hash\":\"";

/// Why an archive cannot be written or does not hold.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or the folder cannot be used.
    #[error("archive {}: cannot be used", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line, or a whole file, is not as it was written.
    #[error("archive {}, line {line}: {problem}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line in it, from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// The archive does not go on from where the database is.
    #[error("archive {}: {problem}", folder.display())]
    Elsewhere {
        /// The folder.
        folder: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
}

/// A line without its hash.
#[derive(Serialize, Deserialize)]
struct Line {
    seq: i64,
    entry: Entry,
}

/// A segment's place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The number of the last entry so far; none before the first.
    pub seq: Option<i64>,
    /// Its hash.
    pub hash: ChainHash,
}

impl Link {
    /// Before the first entry.
    pub const START: Self = Self {
        seq: None,
        hash: ChainHash([0; 32]),
    };
}

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many files.
    pub segments: u64,
    /// How many entries.
    pub entries: u64,
    /// The end of the chain.
    pub end: Link,
    /// The hash at the entry that was asked for, and what the entries up to it fold to (R32); none if it is
    /// not here.
    pub passed: Option<(ChainHash, Ledger)>,
}

/// The lines of a segment after `end`, and where it ends.
fn lines(rows: &[JournalRow], end: Link) -> Result<(String, Link), serde_json::Error> {
    let (mut text, mut end) = (String::new(), end);
    for row in rows {
        let line = serde_json::to_string(&Line {
            seq: row.seq,
            entry: row.entry.clone(),
        })?;
        let body = line.strip_suffix('}').unwrap_or(&line);
        end = Link {
            seq: Some(row.seq),
            hash: chained(end.hash, body),
        };
        text.push_str(body);
        text.push_str(HASH);
        text.push_str(&end.hash.to_string());
        text.push_str("\"}\n");
    }
    Ok((text, end))
}

fn chained(before: ChainHash, body: &str) -> ChainHash {
    let mut hash = Sha256::new();
    hash.update(before.0);
    hash.update(body);
    ChainHash(hash.finalize().into())
}

/// Writes the next segment, and makes it durable before it has its name; answers the end of the chain.
///
/// A crash may have left it there already, with its entries still in the database: then it is replaced, by
/// one that goes on from what it said.
///
/// # Errors
/// [`Error::Elsewhere`] if the segment before it is not in this folder, or one that follows is not what a
/// crash has left; [`Error::File`].
pub fn append(folder: &Path, rows: &[JournalRow], from: Link) -> Result<Link, Error> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Ok(from);
    };
    let path = folder.join(name(first.seq, last.seq));
    let failed = |source| Error::File {
        path: path.clone(),
        source,
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let left = left_by_a_crash(folder, from.seq, first.seq)?;
    let (text, end) = lines(rows, from).map_err(|error| failed(error.into()))?;
    for path in &left {
        if !text.starts_with(&fs::read_to_string(path).map_err(failed)?) {
            let problem = format!("{} says something else than the database", path.display());
            return Err(elsewhere(folder, &problem));
        }
    }
    let unfinished = path.with_extension("unfinished");
    let mut file = fs::File::create(&unfinished).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    for path in left {
        fs::remove_file(path).map_err(failed)?;
    }
    fs::rename(&unfinished, &path).map_err(failed)?;
    // The name, too, is durable only with its folder.
    let folder = fs::File::open(folder).map_err(failed)?;
    folder.sync_all().map_err(failed)?;
    Ok(end)
}

/// That the folder is of another line, or of another past of this one.
fn elsewhere(folder: &Path, problem: &str) -> Error {
    let advice = "it is of another line, or the database was restored from before it: keep it, and archive \
                  to a new folder";
    Error::Elsewhere {
        folder: folder.to_owned(),
        problem: format!("{problem}; {advice}"),
    }
}

fn name(first: i64, last: i64) -> String {
    format!("journal-{first:019}-{last:019}.jsonl")
}

/// The first and last entry of a segment, by its file's name.
fn named(path: &Path) -> Option<(i64, i64)> {
    let name = path.file_name()?.to_str()?;
    let range = name.strip_prefix("journal-")?.strip_suffix(".jsonl")?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// The segments of a folder in order. Whatever else is there is left alone.
fn segments(folder: &Path) -> Result<Vec<(i64, i64, PathBuf)>, Error> {
    let failed = |source| Error::File {
        path: folder.to_owned(),
        source,
    };
    let mut segments = Vec::new();
    for found in fs::read_dir(folder).map_err(failed)? {
        let path = found.map_err(failed)?.path();
        if let Some((first, last)) = named(&path) {
            segments.push((first, last, path));
        }
    }
    segments.sort();
    Ok(segments)
}

/// What follows the segment that ends with entry `last`: what a crash has left of the next one.
fn left_by_a_crash(folder: &Path, last: Option<i64>, next: i64) -> Result<Vec<PathBuf>, Error> {
    let segments = segments(folder)?;
    if let Some(last) = last
        && !segments.iter().any(|(_, of, _)| *of == last)
    {
        return Err(Error::Elsewhere {
            folder: folder.to_owned(),
            problem: format!(
                "the segment that ends with entry {last} is not here: archive to the folder where it is, \
                 from one server, or from several that share it"
            ),
        });
    }
    let left = segments.into_iter().filter(|(_, of, _)| Some(*of) > last);
    left.map(|(first, _, path)| {
        if first == next {
            return Ok(path);
        }
        let problem = format!(
            "there is a segment from entry {first} on, and the database goes on with {next}"
        );
        Err(elsewhere(folder, &problem))
    })
    .collect()
}

/// Goes through a whole archive: each line's hash, the order of the entries, the names of the files.
/// `at` is an entry whose hash is asked for.
///
/// # Errors
/// [`Error::Broken`], naming the first line that is not as it was written.
pub fn verify(folder: &Path, at: Option<i64>) -> Result<Verified, Error> {
    let mut verified = Verified {
        segments: 0,
        entries: 0,
        end: Link::START,
        passed: None,
    };
    let mut ledger = Ledger::default();
    for (first, last, path) in segments(folder)? {
        verify_segment(&path, (first, last), at, (&mut verified, &mut ledger))?;
        verified.segments += 1;
    }
    Ok(verified)
}

fn verify_segment(
    path: &Path,
    (first, last): (i64, i64),
    at: Option<i64>,
    (verified, ledger): (&mut Verified, &mut Ledger),
) -> Result<(), Error> {
    let failed = |source| Error::File {
        path: path.to_owned(),
        source,
    };
    let broken = |line: u64, problem: String| Error::Broken {
        path: path.to_owned(),
        line,
        problem,
    };
    let file = BufReader::new(fs::File::open(path).map_err(failed)?);
    let mut number = 0;
    for line in file.lines() {
        number += 1;
        let line = line.map_err(failed)?;
        let (end, entry) = next(&line, verified.end).map_err(|problem| broken(number, problem))?;
        if number == 1 && end.seq != Some(first) {
            let found = end.seq.unwrap_or_default();
            let problem =
                format!("its first entry is {found}, and by its name {first}: lines are missing");
            return Err(broken(number, problem));
        }
        ledger.fold(&entry);
        if end.seq == at {
            verified.passed = Some((end.hash, ledger.clone()));
        }
        verified.end = end;
        verified.entries += 1;
    }
    if verified.end.seq != Some(last) || number == 0 {
        let problem =
            format!("by its name it ends with entry {last}: lines are cut off at its end");
        return Err(broken(number, problem));
    }
    Ok(())
}

/// The chain's next link, if the line is as it was written.
fn next(line: &str, end: Link) -> Result<(Link, Entry), String> {
    let (body, hash) = line
        .rsplit_once(HASH)
        .ok_or("it has no hash: it was changed, or cut off")?;
    let hash = hash.strip_suffix("\"}").unwrap_or_default();
    let computed = chained(end.hash, body);
    if computed.to_string() != hash {
        return Err(
            "its hash does not fit it and the line before it: one of the two was changed, or lines were \
             taken out, added or moved here"
                .to_owned(),
        );
    }
    let read: Line = serde_json::from_str(&format!("{body}}}"))
        .map_err(|error| format!("it is no entry: {error}"))?;
    if end.seq.is_some_and(|before| read.seq <= before) {
        return Err(format!("entry {} is out of order", read.seq));
    }
    let next = Link {
        seq: Some(read.seq),
        hash: computed,
    };
    Ok((next, read.entry))
}

#[cfg(test)]
mod tests {
    use andon::{By, Event, GateEvent, Stamp, Timestamp};
    use proptest::prelude::*;

    use super::*;

    fn rows(count: i64) -> Vec<JournalRow> {
        let entry = |seq| {
            let stamp = Stamp {
                at: Timestamp::from_micros(seq),
                version: andon::Version::try_from(seq).unwrap(),
                epoch: andon::Epoch::FIRST,
            };
            let event = Event::Gate {
                event: GateEvent::QueueResumed,
            };
            Entry::new(stamp, &By::SYSTEM, event)
        };
        // Numbers that were given out and rolled back are missing.
        (1..=count)
            .map(|n| JournalRow {
                seq: n * 3,
                entry: entry(n),
            })
            .collect()
    }

    /// An archive in so many segments.
    fn archive(count: i64, per_segment: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut link = Link::START;
        for rows in rows(count).chunks(per_segment) {
            link = append(folder.path(), rows, link).unwrap();
        }
        folder
    }

    fn text(folder: &Path) -> Vec<(PathBuf, Vec<String>)> {
        let read = |(_, _, path): (i64, i64, PathBuf)| {
            let text = fs::read_to_string(&path).unwrap();
            (path, text.lines().map(str::to_owned).collect())
        };
        segments(folder).unwrap().into_iter().map(read).collect()
    }

    fn put(path: &Path, lines: &[String]) {
        fs::write(
            path,
            lines
                .iter()
                .flat_map(|line| {
                    [
                        line.as_str(),
                        "
",
                    ]
                })
                .collect::<String>(),
        )
        .unwrap();
    }

    #[test]
    fn r31_an_archive_holds_and_knows_the_hash_at_each_entry() {
        let folder = archive(10, 4);
        let all = verify(folder.path(), Some(15)).unwrap();
        assert_eq!((all.segments, all.entries, all.end.seq), (3, 10, Some(30)));
        assert!(all.passed.is_some());
        assert_eq!(verify(folder.path(), Some(14)).unwrap().passed, None);
        let (hash, _) = verify(folder.path(), Some(30)).unwrap().passed.unwrap();
        assert_eq!(hash, all.end.hash);
        assert_eq!(verify(archive(0, 1).path(), None).unwrap().entries, 0);
    }

    #[test]
    fn r31_what_a_crash_left_is_written_again_and_nothing_else_is() {
        let folder = archive(8, 4);
        let all = rows(9);
        let (_, first) = lines(&all[..4], Link::START).unwrap();
        let (_, second) = lines(&all[4..8], first).unwrap();
        // The second segment was written, and its entries not removed: by now one more is old.
        let end = append(folder.path(), &all[4..], first).unwrap();
        let found = verify(folder.path(), second.seq).unwrap();
        assert_eq!((found.segments, found.end), (2, end));
        assert_eq!(found.passed.unwrap().0, second.hash);
        let text = |error: Error| error.to_string();
        let other = append(folder.path(), &all[5..], first)
            .map_err(text)
            .unwrap_err();
        assert!(
            other.contains("a segment from entry 15 on, and the database goes on with 18"),
            "{other}"
        );
        let mut changed = all.clone();
        changed[5].entry.stamp.at = Timestamp::from_micros(77);
        let other = append(folder.path(), &changed[4..], first)
            .map_err(text)
            .unwrap_err();
        assert!(
            other.contains("says something else than the database"),
            "{other}"
        );
        let fewer = append(folder.path(), &all[4..6], first)
            .map_err(text)
            .unwrap_err();
        assert!(
            fewer.contains("says something else than the database"),
            "{fewer}"
        );
        let gap = append(
            folder.path(),
            &all[8..],
            Link {
                seq: Some(99),
                ..second
            },
        );
        assert!(text(gap.unwrap_err()).contains("ends with entry 99 is not here"));
        assert_eq!(
            verify(folder.path(), None).unwrap().end,
            end,
            "nothing was touched"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// R31: whichever line is changed, taken out, doubled or moved, that is found, and named at that line
        /// or right behind it.
        #[test]
        fn r31_a_line_that_is_changed_cut_or_moved_is_found(
            count in 2i64..20, per_segment in 1usize..8, which in 0usize..1000, how in 0u8..5, byte in 0usize..1000,
        ) {
            let folder = archive(count, per_segment);
            let files = text(folder.path());
            let (path, lines) = &files[which % files.len()];
            let (mut changed, at) = (lines.clone(), byte % lines.len());
            match how {
                0 => {
                    let place = byte % changed[at].len();
                    let other = if changed[at].as_bytes()[place] == b'7' { "8" } else { "7" };
                    changed[at].replace_range(place..=place, other);
                }
                1 => drop(changed.remove(at)),
                2 => changed.insert(at, lines[at].clone()),
                3 => changed.reverse(),
                _ => changed.truncate(at),
            }
            put(path, &changed);
            let found = verify(folder.path(), None);
            if changed == *lines {
                prop_assert!(found.is_ok());
            } else {
                let error = found.unwrap_err();
                prop_assert!(matches!(error, Error::Broken { .. }), "{error}");
            }
            // A whole segment that is taken out breaks the chain, unless it was the last one.
            put(path, lines);
            verify(folder.path(), None).unwrap();
            fs::remove_file(path).unwrap();
            let is_last = which % files.len() == files.len() - 1;
            prop_assert_eq!(verify(folder.path(), None).is_ok(), is_last);
        }
    }
}
