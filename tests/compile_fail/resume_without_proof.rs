//! R7, R8: the queue resumes only with the proof that every breaker is CLOSED.
use andon::queue::{Active, Paused, Queue};
use andon::Refusal;

fn resume(queue: Queue<Paused>) -> Result<Queue<Active>, Refusal> {
    queue.resume()
}

fn main() {}
