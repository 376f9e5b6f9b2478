"""``groundup serve``: the answers of ``predict``, limits, strangers' requests, and an end in which nothing is lost."""

from __future__ import annotations

import http.client
import json
import random
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from seed import SEED
from served import Served, serving

from groundup import cli
from groundup.errors import UserError

TEXTS = [
    "roses and tulips in the garden",
    "garlic, butter and a saucepan",
    "sails in the harbour",
    "",
    "刀 spade 🌊",
    "x " * 3000,
]
LIMITS = ["limits.rows=8", "limits.characters=20000", "limits.bytes=100000", "limits.seconds=5"]


@pytest.fixture(scope="module")
def server(finetuned, language_model, tmp_path_factory):
    """A classifier and a language model behind one address."""
    with serving(
        tmp_path_factory.mktemp("serve") / "server", f"run={finetuned}", f"run={language_model}", *LIMITS
    ) as one:
        yield one


@pytest.fixture(scope="module")
def predicted(finetuned, tmp_path_factory):
    """Text -> what ``predict`` writes for it."""
    folder = tmp_path_factory.mktemp("predicted")
    (folder / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    words = [f"run={finetuned}", f"input={folder / 'in.jsonl'}", f"output={folder / 'out.jsonl'}", "text=text"]
    assert cli.run(["predict", *words]) == 0
    lines = (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()
    return dict(zip(TEXTS, map(json.loads, lines), strict=True))


def same(one: dict, other: dict) -> bool:
    """Equal but for the last digits of probabilities, which depend on what is computed together."""
    return (one["predicted"], one["status"]) == (other["predicted"], other["status"]) and one[
        "probabilities"
    ] == pytest.approx(other["probabilities"], abs=1e-5)


def test_a_row_and_a_list_of_rows_are_answered_as_by_predict(server, predicted):
    for text in TEXTS:
        answer = server.ask("/predict", {"text": text})
        assert answer.keys() == predicted[text].keys() and same(answer, predicted[text])
    answers = server.ask("/predict", [{"text": text, "number": i} for i, text in enumerate(TEXTS)])
    assert [answer["number"] for answer in answers] == list(
        range(len(TEXTS))
    )  # a row's own values stand beside its answer
    assert all(same(answer, predicted[text]) for answer, text in zip(answers, TEXTS, strict=True))
    assert same(server.ask("/predict", TEXTS[0]), predicted[TEXTS[0]])  # a text alone


def test_requests_that_come_together_get_each_their_own_answer(server, predicted):
    texts = random.Random(SEED).choices(TEXTS, k=400)
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda text: server.ask("/predict", {"text": text}), texts))
    assert all(same(answer, predicted[text]) for answer, text in zip(answers, texts, strict=True))
    metrics = server.client.get("/metrics").text
    rows, batches = (
        float(re.search(rf"^groundup_batch_rows_{what} (\S+)", metrics, re.M)[1]) for what in ("sum", "count")
    )
    assert rows > 1.2 * batches  # rows of several requests in a batch


def test_a_run_is_asked_by_its_name(server, finetuned, language_model):
    names = [one["name"] for one in server.client.get("/runs").json()["runs"]]
    assert len(set(names)) == 2 and all(
        str(path).endswith(name) for path, name in zip((finetuned, language_model), names)
    )
    assert "perplexity" in server.ask(f"/predict?run={names[1]}", {"text": "the garden"})
    assert "no run 'other'" in server.ask("/predict?run=other", {"text": "x"}, 404)["error"]["message"]


@pytest.mark.parametrize(
    ("body", "code", "word"),
    [
        (b"", 400, "empty"),
        (b"{", 400, "no JSON"),
        (b"\xff\xfe", 400, "UTF-8"),
        (b"[" * 50_000, 400, "brackets"),
        (b'{"text": NaN}', 400, "NaN"),
        (b'{"text": 1e999}', 400, "large"),
        (b'{"text": ' + b"9" * 5000 + b"}", 400, "large"),
        ({"text": "\ud800"}, 400, "half a character"),
        ([], 422, "1 to 8"),
        ([{"text": "x"}] * 9, 422, "9 rows"),
        (5, 422, "number"),
        (None, 422, "null"),
        ({}, 422, "no text"),
        ({"txt": "x"}, 422, "no text"),
        ({"text": None}, 422, "no text"),
        ({"text": 5}, 422, "number"),
        ({"text": ["x"]}, 422, "list"),
        ({"text": {"a": 1}}, 422, "nested"),
        ({"text": "x", "deep": [[1]]}, 422, "nested"),
        ([{"text": "x"}, "y", 7], 422, "row 3"),
        ({"text": "x" * 20_001}, 422, "characters"),
        ({"text": "x" * 200_000}, 413, "bytes"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_one_line(server, body, code, word):
    error = server.ask("/predict", body, code)["error"]
    assert word in error["message"] and "\n" not in error["message"] and error["type"] == "invalid_request_error"
    assert server.client.get("/health").json() == {"status": "ok"}


def test_another_path_method_or_kind_of_body_is_refused(server):
    assert server.client.get("/nothing").status_code == 404
    assert server.client.get("/predict").status_code == 405
    assert server.client.get("/../../etc/passwd").status_code == 404
    assert server.client.post("/predict", content=b"text=x").status_code == 415
    assert server.client.post("/predict/", json={"text": "x"}).status_code == 404


def test_requests_that_are_none_are_refused_and_the_server_lives(server):
    """Random damage to a request that is whole: no answer but a refusal, or the one to a body that is still whole."""
    body = json.dumps({"text": "roses"}).encode()
    host = server.url.removeprefix("http://").encode()
    whole = b"POST /predict HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    whole = whole % (host, len(body), body)
    generator = random.Random(SEED)
    for _ in range(150):
        sent = bytearray(whole)
        for _ in range(generator.randint(1, 8)):
            place = generator.randrange(len(sent))
            kind = generator.randrange(3)
            if kind == 0:
                sent[place] = generator.randrange(256)
            elif kind == 1:
                del sent[place : place + generator.randint(1, 40)]
            else:
                sent[place:place] = generator.randbytes(generator.randint(1, 40))
            if not sent:
                break
        answer = server.raw(bytes(sent))
        assert not answer or re.match(rb"HTTP/1\.1 (200|4\d\d) ", answer), (bytes(sent), answer)
    assert server.ask("/predict", {"text": "roses"})["status"] == "ok"
    assert "Traceback" not in server.child.errors()


def test_a_slow_client_is_let_go_and_keeps_nobody_waiting(server):
    half = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    slow = [socket.create_connection(server.address, timeout=30) for _ in range(20)]
    idle = http.client.HTTPConnection(*server.address, timeout=30)
    try:
        idle.request("GET", "/health")
        assert idle.getresponse().read()
        for number, connection in enumerate(slow):
            connection.sendall(half if number % 2 else b"POST /predict HT")
        assert server.ask("/predict", {"text": "roses"})["status"] == "ok"
        begun = time.monotonic()
        ends = [connection.recv(1000) for connection in slow]
        assert time.monotonic() - begun < 20
        assert all(not end or end.startswith(b"HTTP/1.1 408") for end in ends)
        time.sleep(0.5)
        idle.request("GET", "/health")  # between two requests a client may take longer than within one
        assert idle.getresponse().read()
    finally:
        idle.close()
        for connection in slow:
            connection.close()


def test_pages_of_other_sites_and_other_names_are_refused(server):
    body = {"text": "roses"}
    assert "only this machine" in server.ask("/predict", body, 403, Host="evil.example")["error"]["message"]
    assert "other sites" in server.ask("/predict", body, 403, Origin="http://evil.example")["error"]["message"]
    port = server.address[1]
    server.ask("/predict", body, Host=f"localhost:{port}", Origin=f"http://localhost:{port}")


def test_metrics_are_those_of_prometheus(server):
    from prometheus_client import parser

    families = {
        family.name: family for family in parser.text_string_to_metric_families(server.client.get("/metrics").text)
    }
    assert {
        "groundup_requests",
        "groundup_request_seconds",
        "groundup_batch_rows",
        "groundup_queue_rows",
    } <= families.keys()


def test_sigterm_answers_what_was_accepted(finetuned, tmp_path):
    with serving(tmp_path / "ending", f"run={finetuned}", "wait_ms=200", "batch_size=256") as server:
        codes, ready = [], threading.Barrier(17)

        def ask() -> None:
            with socket.create_connection(server.address, timeout=30) as connection:
                body = json.dumps([{"text": "roses and tulips"}] * 20).encode()
                head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                connection.sendall(head % len(body) + body)
                ready.wait()
                answer = b""
                while part := connection.recv(65536):  # until the server closes, as it must
                    answer += part
                codes.append((answer[:12], len(json.loads(answer.partition(b"\r\n\r\n")[2]))))

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        ready.wait()
        time.sleep(0.05)
        assert server.end() == 0
        for thread in threads:
            thread.join(30)
        assert codes == [(b"HTTP/1.1 200", 20)] * 16
        told = re.findall(r"ended: (\d+) requests taken, (\d+) answered", server.child.output())
        assert told and told[0][0] == told[0][1]


def test_a_second_sigterm_ends_at_once(finetuned, tmp_path):
    slow = (
        "import time\nfrom groundup.serving.worker import Worker\nWorker._answer = lambda self, jobs: time.sleep(300)"
    )
    server = Served(tmp_path / "forced", f"run={finetuned}", first=slow)
    try:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(server.ask, "/predict", {"text": "roses"}, 503)
            server.child.wait_for(lambda: "groundup_queue_rows 1.0" in server.client.get("/metrics").text)
            server.child.send_signal(signal.SIGTERM)
            server.child.send_signal(signal.SIGINT)
            assert server.child.wait(60) == 75
            assert "ended before" in answer.result()["error"]["message"]
        assert "Traceback" not in server.child.errors()
    finally:
        server.child.kill()


def test_a_full_queue_says_ask_again(language_model, tmp_path):
    words = [f"run={language_model}", "limits.queue=2", "batch_size=1", "limits.new_tokens=400"]
    with serving(tmp_path / "full", *words) as server:
        asked = {"prompt": "the", "max_tokens": 400}
        with ThreadPoolExecutor(12) as pool:
            # A stream is refused by its code, too, which clients look at to ask again.
            send = lambda n: server.client.post("/v1/completions", json={**asked, "stream": n % 2 > 0})  # noqa: E731
            answers = list(pool.map(send, range(12)))
        for of_a_kind in (answers[::2], answers[1::2]):
            refused = [answer for answer in of_a_kind if answer.status_code == 429]
            assert refused and {answer.status_code for answer in answers} == {200, 429}
            assert refused[0].headers["retry-after"] and "wait already" in refused[0].json()["error"]["message"]


def test_others_need_a_token(finetuned, tmp_path, monkeypatch):
    monkeypatch.setenv("GROUNDUP_TOKEN", "a-token-of-many-letters")
    with serving(tmp_path / "token", f"run={finetuned}", "host=127.0.0.1") as server:
        body = {"text": "roses"}
        for wrong in (
            {},
            {"Authorization": "Bearer a-token-of-many-letterz"},
            {"Authorization": "a-token-of-many-letters"},
        ):
            assert server.ask("/predict", body, 401, **wrong)["error"]["code"] == "invalid_api_key"
        server.ask("/predict", body, Authorization="Bearer a-token-of-many-letters")
        strange = {"Host": "[", "Authorization": "Bearer a-token-of-many-letters"}
        assert server.client.put("/predict", headers=strange).status_code == 405
        assert server.client.get("/runs").status_code == 401 and server.client.get("/health").status_code == 200
        assert "a-token" not in server.child.output() + server.child.errors()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run={run}", "host=0.0.0.0"], "GROUNDUP_TOKEN"),
        (["run={run}", "host=no.such.host.example"], "GROUNDUP_TOKEN"),
        (["run={run}", "port=70000"], "port"),
        (["run={run}/nothing"], "does not exist"),
        (["run=[]"], "run="),
        (["run={pretrained}"], "Fine-tune it first"),
        (["run={run}", "limits.rows=0"], "limits.rows"),
        (["run={run}", "limits.row=5"], "limits.rows"),
    ],
)
def test_mistakes_show_before_anything_is_served(words, told, finetuned, pretrained, capsys):
    words = [word.format(run=finetuned, pretrained=pretrained) for word in words]
    assert cli.run(["serve", "port=0", *words]) == 2
    assert told in capsys.readouterr().err


def test_an_address_that_cannot_be_had_is_named(server):
    from groundup.serving.serve import listen

    with pytest.raises(UserError, match=f"Try port={server.address[1] + 1}"):
        listen(*server.address)
    with pytest.raises(UserError, match=r"Try host=0\.0\.0\.0"):
        listen("no.such.host.example", 0)


def test_one_run_is_asked_for_by_other_verbs(finetuned, capsys):
    assert cli.run(["evaluate", f"run=[{finetuned},{finetuned}]"]) == 2
    assert "takes one run" in capsys.readouterr().err
