"""What the drivers of both queues share: arguments, worker processes, the clock, and the line of JSON
that is their answer. The contract is in ../README.md."""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import multiprocessing
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import uvloop

DATABASE_URL = os.environ["DATABASE_URL"]


@dataclass(frozen=True)
class Settings:
    jobs: int
    chunk: int
    processes: int
    concurrency: int
    batch: int


def settings() -> Settings:
    parser = argparse.ArgumentParser()
    for name in Settings.__dataclass_fields__:
        parser.add_argument(f"--{name}", type=int, required=True)
    return Settings(**vars(parser.parse_args()))


def chunks(set_to: Settings) -> Iterator[range]:
    """The numbers of all jobs, in chunks that are enqueued with one call each."""
    for first in range(0, set_to.jobs, set_to.chunk):
        yield range(first, min(first + set_to.chunk, set_to.jobs))


class Handled:
    """How many jobs a worker's handler has had, and the sum of their numbers; seen by the parent."""

    def __init__(self) -> None:
        self._shared = multiprocessing.RawArray("q", 2)

    def note(self, number: int) -> None:
        self._shared[0] += 1
        self._shared[1] += number

    def count(self) -> int:
        return self._shared[0]

    def sum(self) -> int:
        return self._shared[1]


Begin = Callable[[], Awaitable[None]]
Ready = Callable[[Settings, Callable[[int], None]], Awaitable[Begin]]


def _worker(ready: Ready, set_to: Settings, handled: Handled, is_ready, start) -> None:
    async def main() -> None:
        begin = await ready(set_to, handled.note)
        is_ready.release()
        start.wait()
        await begin()

    uvloop.run(main())


async def drain(set_to: Settings, ready: Ready, unfinished: Callable[[], Awaitable[int]]) -> float:
    """Starts the workers and waits until they are ready; then seconds from their start until the
    database holds no unfinished job. It is asked only once the handlers have had all jobs."""
    context = multiprocessing.get_context("fork")
    is_ready, start = context.Semaphore(0), context.Event()
    handled = [Handled() for _ in range(set_to.processes)]
    workers = [
        context.Process(target=_worker, args=(ready, set_to, one, is_ready, start), daemon=True)
        for one in handled
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        await asyncio.to_thread(is_ready.acquire)

    begun = time.perf_counter()
    start.set()
    while sum(one.count() for one in handled) < set_to.jobs:
        await asyncio.sleep(0.005)
        if any(worker.exitcode for worker in workers):
            raise RuntimeError("a worker ended with an error")
    while await unfinished() > 0:
        await asyncio.sleep(0.002)
    seconds = time.perf_counter() - begun

    for worker in workers:
        worker.kill()
    count, total = sum(one.count() for one in handled), sum(one.sum() for one in handled)
    if count != set_to.jobs or total != set_to.jobs * (set_to.jobs - 1) // 2:
        raise RuntimeError(f"the handlers had {count} jobs instead of {set_to.jobs}, or not each once")
    return seconds


def answer(
    peer: str, set_to: Settings, words: str, enqueued: float, drained: float, finished_jobs: str
) -> None:
    line = {
        "peer": peer,
        "version": importlib.metadata.version(peer),
        "settings": words,
        "jobs": set_to.jobs,
        "enqueue_per_s": set_to.jobs / enqueued,
        "drain_per_s": set_to.jobs / drained,
        "keeps_finished": finished_jobs == "kept",
        "finished_jobs": finished_jobs,
    }
    print(json.dumps(line))
