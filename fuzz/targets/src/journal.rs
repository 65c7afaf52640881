//! The import of a journal: whatever its entries say, folding them never panics, and folding what a
//! line wrote gives that line (R32, I15).

use andon::{AnyCampaign, Entry, Ledger};

use crate::line;

/// Folds the entries that the bytes are, as JSON; bytes that begin otherwise are taken for commands,
/// whose journal is written out, read in and folded.
///
/// # Panics
/// If the fold of a line's own journal is another state.
pub fn run(bytes: &[u8]) {
    if !bytes.starts_with(b"[") {
        imports_what_a_line_wrote(bytes);
    } else if let Ok(entries) = serde_json::from_slice::<Vec<Entry>>(bytes) {
        let folded = fold(&entries);
        // What no line wrote may fold to what no line can be: then it is said, and not guessed (R30).
        let stored = serde_json::to_vec(&folded).unwrap_or_else(|error| panic!("{error}"));
        if let Ok(read) = serde_json::from_slice::<Ledger>(&stored) {
            assert_eq!(read, folded, "a checkpoint is read as another");
        }
    }
}

fn imports_what_a_line_wrote(bytes: &[u8]) {
    let line = line::told(bytes);
    let written = serde_json::to_vec(line.journal()).unwrap_or_else(|error| panic!("{error}"));
    let read: Vec<Entry> =
        serde_json::from_slice(&written).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(read, line.journal(), "the journal is read as another");
    let campaigns: Vec<AnyCampaign> = line.campaigns().cloned().collect();
    if let Some(difference) = fold(&read).first_difference(line.gate(), &campaigns) {
        panic!("I15: {difference}");
    }
}

fn fold(entries: &[Entry]) -> Ledger {
    let mut ledger = Ledger::default();
    for entry in entries {
        ledger.fold(entry);
    }
    ledger
}
