"""``/v1/completions`` of ``groundup serve``: clients of the protocol work unchanged, and texts are those of ``generate``."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from seed import SEED
from served import serving

from groundup import cli

PROMPTS = ["roses and", "the", "", "garlic 刀 🌊"]


@pytest.fixture(scope="module")
def server(language_model, tmp_path_factory):
    with serving(
        tmp_path_factory.mktemp("serve") / "completions", f"run={language_model}", "limits.new_tokens=2000"
    ) as one:
        yield one


def whole(server, prompt, **asked) -> list[str]:
    return [one["text"] for one in server.ask("/v1/completions", {"prompt": prompt, **asked})["choices"]]


@pytest.mark.parametrize("words", [{}, {"temperature": 0}, {"top_p": 0.9, "top_k": 20, "repetition_penalty": 1.3}])
def test_texts_are_those_of_generate(server, language_model, words, tmp_path):
    asked = {"max_tokens": 30, "seed": SEED, "n": 2, **words}
    for place, prompt in enumerate(PROMPTS):
        file = tmp_path / f"{place}.jsonl"
        ways = {"temperature": 1, "top_p": 1, **words}
        told = [f"decoding.{name}={value}" for name, value in ways.items()]
        told += [f"run={language_model}", f"seed={SEED}", "samples=2", "decoding.max_new_tokens=30", f"output={file}"]
        assert cli.run(["generate", *told, "prompt=" + json.dumps(prompt, ensure_ascii=False)]) == 0
        texts = [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()]
        assert [prompt + text for text in whole(server, prompt, **asked)] == texts


def test_texts_that_are_written_together_are_those_written_alone(server):
    asked = {"max_tokens": 40, "seed": SEED}
    alone = [whole(server, prompt, **asked)[0] for prompt in PROMPTS]
    assert whole(server, PROMPTS, **asked) == alone
    with ThreadPoolExecutor(16) as pool:
        jobs = [pool.submit(whole, server, prompt, **asked) for prompt in PROMPTS * 4]
        greedy = [pool.submit(whole, server, prompt, max_tokens=25, temperature=0) for prompt in PROMPTS]
    assert [job.result()[0] for job in jobs] == alone * 4
    assert [job.result() for job in greedy] == [
        whole(server, prompt, max_tokens=25, temperature=0) for prompt in PROMPTS
    ]


def test_the_openai_package_works_unchanged(server):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    model = client.models.list().data[0].id
    asked = {"model": model, "prompt": "roses and", "max_tokens": 20, "seed": SEED}
    one = client.completions.create(**asked)
    assert one.object == "text_completion" and one.model == model
    assert one.usage.total_tokens == one.usage.prompt_tokens + one.usage.completion_tokens
    assert one.choices[0].finish_reason in ("length", "stop") and one.usage.completion_tokens <= 20
    pieces = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(piece.choices[0].text for piece in pieces[:-1]) == one.choices[0].text
    assert len(pieces) > 5 and pieces[-1].usage == one.usage and pieces[-2].choices[0].finish_reason
    with pytest.raises(openai.NotFoundError):
        client.completions.create(**{**asked, "model": "other"})
    with pytest.raises(openai.BadRequestError):
        client.completions.create(**asked, logprobs=5)


def test_a_text_ends_where_stop_stands(server):
    asked = {"prompt": "roses and", "max_tokens": 60, "seed": SEED}
    (text,) = whole(server, **asked)
    for end in (text[10:13], text[5], text[20:28]):
        answer = server.ask("/v1/completions", {**asked, "stop": ["never there", end]})
        assert answer["choices"][0]["text"] == text[: text.index(end)]
        assert answer["choices"][0]["finish_reason"] == "stop" and answer["usage"]["completion_tokens"] <= 60
        told = server.client.post("/v1/completions", json={**asked, "stop": end, "stream": True}).text
        pieces = [json.loads(line[6:]) for line in told.split("\n\n") if line.startswith("data: {")]
        assert "".join(piece["choices"][0]["text"] for piece in pieces) == text[: text.index(end)]
    assert whole(server, **asked, stop="never there") == [text]
    assert whole(server, **asked, stop=text[-1] + "never") == [
        text
    ]  # what may have been the beginning of an end is told


def test_streams_are_events_that_end_with_done(server):
    told = server.client.post("/v1/completions", json={"prompt": ["a", "b"], "n": 2, "max_tokens": 9, "stream": True})
    assert told.headers["content-type"].startswith("text/event-stream")
    events = told.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    reasons: dict[int, list] = {}
    for event in events[:-2]:
        (choice,) = json.loads(event.removeprefix("data: "))["choices"]
        reasons.setdefault(choice["index"], []).append(choice["finish_reason"])
    assert reasons.keys() == {0, 1, 2, 3}
    assert all(of[-1] in ("stop", "length") and of[:-1] == [None] * (len(of) - 1) for of in reasons.values())


def test_nobody_writes_for_a_client_that_left(server):
    body = json.dumps({"prompt": "the", "max_tokens": 2000, "stream": True, "temperature": 2}).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    for _ in range(8):
        with socket.create_connection(server.address, timeout=30) as connection:
            connection.sendall(head % len(body) + body)
            assert connection.recv(100)
    deadline = time.monotonic() + 30
    while "groundup_queue_rows 0.0\n" not in server.client.get("/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    written = server.client.get("/metrics").text.partition("groundup_tokens_total ")[2]
    time.sleep(0.2)
    assert server.client.get("/metrics").text.partition("groundup_tokens_total ")[2] == written


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ([], "object"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", 5]}, "prompt"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 2001}, "2000"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 500}, "texts"),
        ({"n": True}, "n:"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ""}, "stop"),
        ({"seed": 2**70}, "seed"),
        ({"logprobs": 3}, "logprobs"),
        ({"echo": True}, "echo"),
        ({"best_of": 3}, "best_of"),
        ({"top_pp": 1}, "top_pp"),
        ({"prompt": "x" * 100_001}, "characters"),
        ({"prompt": ["x " * 10_000] + ["y"] * 100}, "tokens"),  # rows of one length, which memory must hold
        ({"stream_options": {"other": 1}}, "stream_options"),
    ],
)
def test_what_cannot_be_written_is_refused_by_one_line(server, asked, word):
    error = server.ask("/v1/completions", asked, 400)["error"]
    assert word in error["message"] and "\n" not in error["message"]


@pytest.mark.parametrize("name", ["", "other"])
def test_a_model_that_is_not_here_is_told_as_clients_know_it(server, name):
    error = server.ask("/v1/completions", {"prompt": "the", "model": name}, 404)["error"]
    assert (error["param"], error["code"]) == ("model", "model_not_found") and repr(name) in error["message"]


def test_defaults_that_clients_send_are_taken(server):
    asked = {
        "prompt": "the",
        "logprobs": None,
        "best_of": 1,
        "echo": False,
        "presence_penalty": 0,
        "logit_bias": {},
        "user": "me",
    }
    assert server.ask("/v1/completions", asked)["choices"][0]["finish_reason"] in ("length", "stop")


def test_a_classifier_writes_nothing(finetuned, language_model, tmp_path):
    with serving(tmp_path / "classifier", f"run={finetuned}", f"run={language_model}") as server:
        assert "/predict" in server.ask("/v1/completions", {"prompt": "roses"}, 400)["error"]["message"]
        assert [one["id"] for one in server.client.get("/v1/models").json()["data"]] == [
            server.client.get("/runs").json()["runs"][1]["name"]
        ]
