"""A served classifier under load: nothing lost, nothing wrong, how much faster than one request at a time, and its end.

python benchmarks/serving.py [RUN] [--requests 20000] [--clients 64]

Without RUN a classifier of size=tiny is trained on python_docs_topic first. Server and clients share the cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path("logs/benchmarks/serving")
GROUNDUP = [sys.executable, "-m", "groundup"]
JSON = "Content-Type: application/json"


class Client:
    """One connection that stays open; it opens a new one where the server has closed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader: asyncio.StreamReader | None = None

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Status and body. Raises ConnectionError where nothing is answered."""
        if self.reader is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        body = await self.reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))
        if b"connection: close" in head.lower():
            self.close()
        return int(head[9:12]), body

    def close(self) -> None:
        if self.reader is not None:
            self.writer.close()
            self.reader = None


def request(body: bytes, path: str = "/predict") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def is_same(one: dict, other: dict) -> bool:
    """Equal but for rounding, which depends on what is computed together."""
    near = all(abs(p - other["probabilities"][label]) < 1e-4 for label, p in one["probabilities"].items())
    return near and (one["predicted"] == other["predicted"] or abs(one["probability"] - other["probability"]) < 1e-4)


async def one_at_a_time(port: int, texts: list[str]) -> dict[str, dict]:
    client = Client(port)
    return {text: json.loads((await client.send(request(json.dumps({"text": text}).encode())))[1]) for text in texts}


def speed_alone(port: int, texts: list[str]) -> float:
    """Requests a second of one client that waits for each answer."""
    begun = time.perf_counter()
    for _ in range(3):
        asyncio.run(one_at_a_time(port, texts))
    return 3 * len(texts) / (time.perf_counter() - begun)


async def together(port: int, texts: list[str], clients: int, known: dict[str, dict]) -> tuple[list[float], int, int]:
    """Seconds of each request, and how many were lost and wrong."""
    left, seconds, lost, wrong = iter(texts), [], 0, 0

    async def work() -> None:
        nonlocal lost, wrong
        client = Client(port)
        for text in left:
            begun = time.perf_counter()
            try:
                code, body = await client.send(request(json.dumps({"text": text}).encode()))
            except (ConnectionError, asyncio.IncompleteReadError):
                lost += 1
                client.close()
                continue
            seconds.append(time.perf_counter() - begun)
            lost += code != 200
            wrong += code == 200 and not is_same(json.loads(body), known[text])

    await asyncio.gather(*(work() for _ in range(clients)))
    return seconds, lost, wrong


def malformed(generator: random.Random) -> bytes:
    """A request that no server may answer with anything but a refusal."""
    whole = json.dumps({"text": "how to open a file"}).encode()
    junk = generator.randbytes(generator.randint(1, 60))
    kind = generator.randrange(12)
    if kind < 6:
        bodies = (
            whole[: generator.randrange(len(whole))],
            b"\xff" + junk,
            json.dumps({"text": generator.choice([5, None, True, {"a": 1}, [["x"]]])}).encode(),
            json.dumps([{"text": "x"}] * 300).encode(),
            b"[" * generator.randint(1000, 90_000),
            json.dumps({"text": "x" * 100_001}).encode(),
        )
        return request(bodies[kind])
    head = f"Host: localhost\r\n{JSON}\r\nContent-Length: {len(whole)}\r\n"
    heads = (
        b"\x00\x01" + junk.replace(b"\n", b"") + b"\r\n\r\n",
        f"POST /predict HTTP/x.1\r\n{head}\r\n".encode() + whole,
        f"POST /predict HTTP/1.1\r\n{head}no colon here\r\n\r\n".encode(),
        f"POST /predict HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nContent-Length: -5\r\n\r\n".encode(),
        f"POST /nothing/{generator.random()} HTTP/1.1\r\n{head}\r\n".encode() + whole,
        f"DELETE /predict HTTP/1.1\r\n{head}\r\n".encode() + whole,
    )
    return heads[kind - 6]


async def refused(port: int, count: int) -> dict[str, int]:
    """How often which status was answered."""
    generator, codes = random.Random(1), dict[str, int]()
    for _ in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(malformed(generator))
        answer = await asyncio.wait_for(reader.read(12), 30)
        writer.close()
        code = answer[9:12].decode() or "nothing"
        codes[code] = codes.get(code, 0) + 1
    return codes


async def ended(port: int, process: subprocess.Popen, texts: list[str], clients: int) -> tuple[int, int]:
    """SIGTERM while ``clients`` ask without a pause: how many answers came, and how many of them were whole."""
    answers = whole = 0

    async def work(number: int) -> None:
        nonlocal answers, whole
        client, generator = Client(port), random.Random(number)
        while True:
            try:
                code, body = await client.send(request(json.dumps({"text": generator.choice(texts)}).encode()))
            except (ConnectionError, asyncio.IncompleteReadError, OSError):
                return  # it listens no more
            answers += 1
            whole += code == 200 and "predicted" in json.loads(body)

    work_of_all = asyncio.gather(*(work(number) for number in range(clients)))
    await asyncio.sleep(2)
    process.send_signal(signal.SIGTERM)
    await work_of_all
    return answers, whole


def measure(process: subprocess.Popen, texts: list[str], requests: int, clients: int) -> None:
    """A server that was just started, to its end."""
    assert process.stdout is not None
    port = int(re.search(r":(\d+) answers", process.stdout.readline())[1])
    known = asyncio.run(one_at_a_time(port, texts))
    before = speed_alone(port, texts)
    begun = time.perf_counter()
    seconds, lost, wrong = asyncio.run(together(port, random.Random(2).choices(texts, k=requests), clients, known))
    many = requests / (time.perf_counter() - begun)
    alone = (before + speed_alone(port, texts)) / 2
    cuts = statistics.quantiles(seconds, n=100)
    print(f"{requests:,} requests of {clients} clients: {lost} lost, {wrong} wrong")
    print(
        f"requests/s: {many:.0f}; one at a time {alone:.0f} (mean of before and after); {many / alone:.2f} times (bar 3)"
    )
    print(f"ms a request: median {1e3 * cuts[49]:.1f}, p99 {1e3 * cuts[98]:.1f}, longest {1e3 * max(seconds):.1f}")
    print(
        f"malformed: {asyncio.run(refused(port, 1000))}; then {len(asyncio.run(one_at_a_time(port, texts[:5])))} of 5 answered"
    )
    answers, whole = asyncio.run(ended(port, process, texts, clients))
    code, told = process.wait(60), process.stdout.read().strip()
    print(f"SIGTERM under load: exit {code}; clients got {answers:,} answers, {whole:,} of them whole; it says: {told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, default=FOLDER / "classifier")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=64)
    asked = parser.parse_args()
    if not (asked.run / "report.html").exists():
        words = ["data=python_docs_topic", "size=tiny", "budget.steps=200", "wandb.mode=disabled"]
        subprocess.run([*GROUNDUP, "finetune", *words, f"hydra.run.dir={asked.run}"], check=True)
    generator = random.Random(1)
    rows = (asked.run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    texts = generator.sample(texts := [json.loads(row)["text"] for row in rows], min(len(texts), 500))

    words = [f"run={asked.run}", "port=0"]
    process = subprocess.Popen([*GROUNDUP, "serve", *words], stdout=subprocess.PIPE, text=True)
    try:
        measure(process, texts, asked.requests, asked.clients)
    finally:
        process.kill()


if __name__ == "__main__":
    main()
