//! A stream of control changes, read as a hint that the line has changed.

use std::time::Duration;

use reqwest::Response;

/// Control changes as the server sends them. What changed is to be read from the line itself: an event
/// that was missed then costs a delay and nothing else.
#[derive(Debug)]
pub struct Events {
    response: Response,
    waiting: Vec<u8>,
}

impl Events {
    pub(super) fn new(response: Response) -> Self {
        Self {
            response,
            waiting: Vec::new(),
        }
    }

    /// The kind of the next change, such as `breaker_opened`; none when the stream has ended, was cut off
    /// or has gone silent. It can be dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            while let Some(block) = take_block(&mut self.waiting) {
                if let Some(kind) = kind(&block) {
                    return Some(kind);
                }
            }
            if self.waiting.len() > BLOCK_MAX {
                return None;
            }
            let chunk = tokio::time::timeout(SILENCE_MAX, self.response.chunk()).await;
            self.waiting.extend_from_slice(&chunk.ok()?.ok()??);
        }
    }
}

/// Takes the first whole block, which an empty line ends.
fn take_block(waiting: &mut Vec<u8>) -> Option<String> {
    let end = waiting.windows(2).position(|pair| pair == b"\n\n")?;
    let rest = waiting.split_off(end + 2);
    let block = std::mem::replace(waiting, rest);
    Some(String::from_utf8_lossy(&block).into_owned())
}

/// The kind that a block names; a comment names none.
fn kind(block: &str) -> Option<String> {
    let named = block.lines().find_map(|line| line.strip_prefix("event:"))?;
    Some(named.trim().to_owned())
}

/// An entry of the journal is far smaller.
const BLOCK_MAX: usize = 1024 * 1024;
/// The server sends a comment every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_whole_however_they_arrive_and_comments_name_nothing() {
        let mut waiting = b":\n\nid: 7\nevent: breaker_ope".to_vec();
        assert_eq!(kind(&take_block(&mut waiting).unwrap()), None);
        assert_eq!(take_block(&mut waiting), None);
        waiting.extend_from_slice(b"ned\ndata: {}\n\nevent: queue_paused\n\n");
        let block = take_block(&mut waiting).unwrap();
        assert_eq!(kind(&block).as_deref(), Some("breaker_opened"));
        let block = take_block(&mut waiting).unwrap();
        assert_eq!(kind(&block).as_deref(), Some("queue_paused"));
        assert!(waiting.is_empty());
    }
}
