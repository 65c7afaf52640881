"""Drives pgqueuer; why it is set as it is, says ../README.md."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from measure import DATABASE_URL, Begin, Settings, answer, chunks, drain, settings


async def ready(set_to: Settings, handled: Callable[[int], None]) -> Begin:
    workers = []
    for _ in range(set_to.concurrency):
        worker = PgQueuer(AsyncpgDriver(await asyncpg.connect(DATABASE_URL)))

        @worker.entrypoint("noop")
        async def noop(job: Job) -> None:
            handled(int(job.payload or b""))

        workers.append(worker)

    async def begin() -> None:
        await asyncio.gather(*(worker.run(batch_size=set_to.batch) for worker in workers))

    return begin


async def main() -> None:
    set_to = settings()
    connection = await asyncpg.connect(DATABASE_URL)
    queries = Queries(AsyncpgDriver(connection))
    await queries.install()
    await queries.optimize_autovacuum()

    begun = time.perf_counter()
    for numbers in chunks(set_to):
        payloads = [str(number).encode() for number in numbers]
        await queries.enqueue(["noop"] * len(payloads), payloads, [0] * len(payloads))
    enqueued = time.perf_counter() - begun

    async def unfinished() -> int:
        return await connection.fetchval("SELECT count(*) FROM pgqueuer")

    drained = await drain(set_to, ready, unfinished)
    done = await connection.fetchval("SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'")
    if done != set_to.jobs:
        raise RuntimeError(f"{done} jobs are logged as successful instead of {set_to.jobs}")
    words = (
        f"{set_to.processes} × {set_to.concurrency} asyncpg workers on uvloop, "
        f"batch_size {set_to.batch}, autovac, enqueue of {set_to.chunk}"
    )
    answer("pgqueuer", set_to, words, enqueued, drained, "a line of a log each")


uvloop.run(main())
