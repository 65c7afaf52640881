//! R7: only a PAUSED queue has a resume.
use andon::queue::{Active, Queue};
use andon::AllBreakersClosed;

fn resume(queue: Queue<Active>, proof: &AllBreakersClosed<'_>) {
    let _ = queue.resume(proof);
}

fn main() {}
