"""The thread of the models: turns between requests, and texts that join others on their way."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest
from seed import SEED
from served import httpx

from groundup.config.root import Limits
from groundup.serving.app import App
from groundup.serving.completions import Asked, completion_of
from groundup.serving.counts import Counts
from groundup.serving.served import Served
from groundup.serving.worker import Worker
from groundup.serving.writing import Together, Writing, fit_together
from groundup.stages.loading import load_run

LIMITS = Limits(rows=256, characters=100_000, bytes=1_000_000, new_tokens=1024, queue=1024, seconds=60)


def a_worker(batch_size: int = 8) -> Worker:
    return Worker(batch_size, 0.0, 1024, 60, Counts(), "cpu", 1)


def test_a_small_request_is_answered_between_the_batches_of_a_large_one():
    """Before the first batch of the large one is done, the small one is there: then it is its turn."""
    done, there = list[int](), threading.Event()

    class Run:
        def answer(self, rows, *_):
            there.wait(30)
            return [{"number": row["number"]} for row in rows]

    async def ask(count: int) -> None:
        answers = await worker.answers(Run(), [{"number": f"{count}.{n:02}"} for n in range(count)])
        assert [one["number"] for one in answers] == [f"{count}.{n:02}" for n in range(count)]
        done.append(count)

    async def both() -> None:
        large = asyncio.create_task(ask(64))
        await asyncio.sleep(0.05)
        small = asyncio.create_task(ask(1))
        await asyncio.sleep(0)
        there.set()
        await asyncio.gather(large, small)

    worker = a_worker()
    worker.start()
    try:
        asyncio.run(both())
    finally:
        worker.close()
    assert done == [1, 64]


def test_an_error_is_told_to_the_request_that_it_is_of():
    class Run:
        def answer(self, rows, *_):
            if any(row["text"] == "bad" for row in rows):
                raise ValueError("bad")
            return [{"text": row["text"]} for row in rows]

    async def ask() -> list:
        run, texts = Run(), ["good", "bad", "better"]
        jobs = (worker.answers(run, [{"text": text}] * 12) for text in texts)
        return await asyncio.gather(*jobs, return_exceptions=True)

    worker = Worker(8, 0.2, 1024, 60, Counts(), "cpu", 1)
    worker.start()
    try:
        good, bad, better = asyncio.run(ask())
    finally:
        worker.close()
    assert good == [{"text": "good"}] * 12 and better == [{"text": "better"}] * 12
    assert isinstance(bad, ValueError)


@pytest.mark.parametrize("way", [{}, {"temperature": 0.0, "repetition_penalty": 1.4}])
def test_a_text_that_comes_later_joins_those_on_their_way_and_is_the_one_written_alone(
    language_model, way, monkeypatch
):
    served, joined = Served("lm", load_run(language_model)), list[int]()
    join = Together.join
    monkeypatch.setattr(Together, "join", lambda one, other: (joined.append(other.rows), join(one, other))[1])
    prompts = ["roses and", "the", "garlic, butter and a saucepan in the garden", "刀 🌊", "sails"]
    longest = [60, 7, 30, 25, 40]

    async def write(place: int, begun: asyncio.Event | None = None, wait_for: asyncio.Event | None = None) -> str:
        if wait_for is not None:
            await wait_for.wait()
        asked = Asked(prompt=prompts[place], max_tokens=longest[place], seed=SEED, **way)
        completion, text = await completion_of(served, asked, LIMITS), ""
        async for _, piece in completion.pieces(worker):
            text += piece
            if begun is not None:
                begun.set()
        return text

    async def alone() -> list[str]:
        return [await write(place) for place in range(len(prompts))]

    async def together() -> list[str]:
        begun = [asyncio.Event() for _ in prompts]
        jobs = [write(n, begun[n], begun[n - 1] if n else None) for n in range(len(prompts))]
        return await asyncio.gather(*jobs)

    worker = a_worker()
    worker.start()
    try:
        texts = asyncio.run(alone())
        assert not joined
        assert asyncio.run(together()) == texts
    finally:
        worker.close()
    assert joined  # some of them were on their way


def test_nothing_is_padded_to_a_text_that_is_very_long():
    way = SimpleNamespace(temperature=1)
    short, other, long = (Writing(None, way, [[1] * n], [1], 9, told=None, loop=None) for n in (3, 50, 600_000))
    assert fit_together([short, other]) and fit_together([long])
    assert not fit_together([short, long]) and not fit_together([long, other])


def test_texts_are_written_where_rows_are_answered():
    """A model that nobody has asked at /predict yet is moved to the accelerator, too."""
    done = []

    class Task:
        def to(self, device):
            done.append(device)

        def drawing(self, *_):
            done.append("drawing")
            raise ValueError("that was all")

    writing = Writing(Task(), None, [[1]], [1], 3, told=None, loop=None)
    ((told, error),) = Together([writing], "there").step()
    assert done == ["there", "drawing"] and told is writing and isinstance(error, ValueError)


def test_what_fails_is_told_in_json_and_is_no_end():
    def broken() -> None:
        raise OSError("disk")

    one = SimpleNamespace(name="one", about=broken, continues=False)
    app = App([one], None, Counts(), LIMITS, None)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app.guarded, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/runs")

    answer = asyncio.run(ask())
    assert answer.status_code == 500 and "its log says why" in answer.json()["error"]["message"]
