"""Drives procrastinate; why it is set as it is, says ../README.md."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import psycopg
import uvloop
from procrastinate import App, PsycopgConnector

from measure import DATABASE_URL, Begin, Settings, answer, chunks, drain, settings

logging.getLogger("procrastinate").setLevel(logging.ERROR)


def app_with(connections: int, handled: Callable[[int], None]) -> App:
    connector = PsycopgConnector(
        conninfo=DATABASE_URL, min_size=connections, max_size=connections
    )
    app = App(connector=connector)

    @app.task(name="noop")
    async def noop(n: int) -> None:
        handled(n)

    return app


async def ready(set_to: Settings, handled: Callable[[int], None]) -> Begin:
    app = app_with(set_to.batch, handled)
    await app.open_async()

    async def begin() -> None:
        await app.run_worker_async(
            concurrency=set_to.concurrency, install_signal_handlers=False
        )

    return begin


async def main() -> None:
    set_to = settings()
    app = app_with(1, lambda _: None)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        begun = time.perf_counter()
        for numbers in chunks(set_to):
            noop = app.configure_task("noop")
            await noop.batch_defer_async(*({"n": number} for number in numbers))
        enqueued = time.perf_counter() - begun

    connection = await psycopg.AsyncConnection.connect(DATABASE_URL, autocommit=True)

    async def count(condition: str) -> int:
        cursor = await connection.execute(
            f"SELECT count(*) FROM procrastinate_jobs WHERE {condition}"
        )
        (number,) = await cursor.fetchone()
        return number

    drained = await drain(set_to, ready, lambda: count("status IN ('todo', 'doing')"))
    done = await count("status = 'succeeded'")
    if done != set_to.jobs:
        raise RuntimeError(f"{done} jobs have succeeded instead of {set_to.jobs}")
    words = (
        f"{set_to.processes} × concurrency {set_to.concurrency} on {set_to.batch} connections "
        f"and uvloop, batch_defer of {set_to.chunk}"
    )
    answer("procrastinate", set_to, words, enqueued, drained, "kept")


uvloop.run(main())
