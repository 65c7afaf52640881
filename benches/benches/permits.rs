//! The check before every outbound call, beside circuit breakers that live in one process. They ask
//! whether their own breaker is closed; andon asks whether the line is known to be open, by a
//! confirmation that is no older than its time-to-live (R30), and so must read a clock.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]
#![allow(
    missing_docs,
    reason = "criterion's macros write a function without one"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use andon_adapter::worker::Clock;
use andon_bench::{ask, confirmed};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use failsafe::CircuitBreaker as _;

const THREADS: [usize; 4] = [1, 2, 4, 16];

/// Runs `check` so many times on each of so many threads; answers the time of one thread's share.
fn on_threads(threads: usize, times: u64, check: impl Fn() + Sync) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..times {
                    check();
                }
            });
        }
    });
    // With more threads than cores each gets its share of a core: what counts is work done.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let rounds = threads.div_ceil(cores);
    start.elapsed() / u32::try_from(rounds).unwrap_or(u32::MAX)
}

fn permit(c: &mut Criterion) {
    let mut group = c.benchmark_group("permit check");
    let clock = Clock::start();
    let watch = confirmed(clock);
    let recloser = recloser::Recloser::default();
    let failsafe = failsafe::Config::new().build();
    for threads in THREADS {
        group.bench_with_input(
            BenchmarkId::new("andon", threads),
            &threads,
            |b, threads| {
                b.iter_custom(|times| {
                    on_threads(*threads, times, || {
                        // Each asks with a name of its own, as each job does.
                        thread_local! {
                            static ASK: andon_adapter::worker::Ask = ask(Clock::start()).unwrap();
                        }
                        let ask = ASK.with(Clone::clone);
                        black_box(watch.permit(black_box(ask), clock.now())).unwrap();
                    })
                });
            },
        );
        group.bench_with_input(
            BenchmarkId::new("recloser, a whole call", threads),
            &threads,
            |b, threads| {
                b.iter_custom(|times| {
                    on_threads(*threads, times, || {
                        black_box(recloser.call(|| Ok::<(), ()>(()))).unwrap();
                    })
                });
            },
        );
        group.bench_with_input(
            BenchmarkId::new("failsafe, is_call_permitted", threads),
            &threads,
            |b, threads| {
                b.iter_custom(|times| {
                    on_threads(*threads, times, || {
                        assert!(black_box(failsafe.is_call_permitted()));
                    })
                });
            },
        );
        group.bench_with_input(
            BenchmarkId::new("failsafe, a whole call", threads),
            &threads,
            |b, threads| {
                b.iter_custom(|times| {
                    on_threads(*threads, times, || {
                        black_box(failsafe.call(|| Ok::<(), ()>(()))).unwrap();
                    })
                });
            },
        );
    }
    group.bench_function("the clock alone", |b| b.iter(|| black_box(clock.now())));
    group.finish();
}

criterion_group!(benches, permit);
criterion_main!(benches);
