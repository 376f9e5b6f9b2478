"""The page of ``groundup serve`` in a real browser: what it shows of every kind of answer."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("starlette")
from browser import CHROMIUM, CTRL, Browser
from served import serving

EVIL = "<img src=x onerror=document.title='run'>"
ONE_STEP = [
    "size=nano",
    "budget.steps=1",
    "validate_every=1",
    "wandb.mode=disabled",
    "threads=1",
    "batching.batch_size=4",
]
TOKEN = "a-token-of-this-test-alone"


@pytest.fixture(scope="module")
def runs(groundup, finetuned, language_model, data_overrides, tmp_path_factory) -> dict[str, Path]:
    """A run of each kind of answer; what they say matters little, so most have learned nothing."""
    folder = tmp_path_factory.mktemp("rows")

    def rows(name: str, *given: dict) -> list[str]:
        file = folder / name
        file.write_text("".join(json.dumps(row) + "\n" for row in given * 4), "utf-8")
        return ["finetune", "data=files", f"data.train={file}", f"data.validation={file}", *ONE_STEP]

    # Every tag begins an entity, so that entities are found by any weights.
    tags = [{"tokens": "Anna sees Rome 北 京".split(), "tags": [f"B-{kind}" for kind in "PER PER LOC LOC LOC".split()]}]
    asked = {"context": "The 🌹 costs 5 é. The anchor costs 40 é.", "question": "What costs the anchor?"}
    asked["answers"] = [{"text": "40", "answer_start": asked["context"].index("40")}]
    several = [{"text": "roses and waves", "label": ["garden", "sea"]}, {"text": "oven", "label": ["kitchen"]}]
    scores = [{"text": f"{word} it", "score": score} for score, word in enumerate(("hate", "bear", "like", "love"))]
    pairs = [{"source": "one two", "target": "二 一"}, {"source": "two", "target": "二"}]
    small = ["tokenizer=word"]
    return {
        "classes": finetuned,
        "text": language_model,
        "tags": groundup(*rows("tags.jsonl", *tags), "task=tagging", "model=bilstm_encoder", *small),
        "answers": groundup(*rows("asked.jsonl", asked), "task=question_answering", "model=bilstm_encoder", *small),
        "labels": groundup(
            *rows("several.jsonl", *several), "task=multilabel", "task.threshold=0.01", "model=cnn_encoder", *small
        ),
        "numbers": groundup(*rows("scores.jsonl", *scores), "task=regression", "model=cnn_encoder", *small),
        "pairs": groundup(*rows("pairs.jsonl", *pairs), "task=translation", "model=lstm_encoder_decoder", *small),
        "classical": groundup("baseline", *data_overrides, "data.label=subject", "threads=1"),
    }


@pytest.fixture(scope="module")
def server(runs, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("served") / "all", f"run=[{','.join(map(str, runs.values()))}]") as served:
        yield served


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def named(runs, server):
    """What the server calls a run."""
    names = {Path(one["name"]).name: one["name"] for one in server.client.get("/runs").json()["runs"]}
    return lambda kind: names[runs[kind].name]


@pytest.fixture
def show(named, server, browser):
    """Opens the page of a run, whose name it returns."""

    def call(kind: str, width: int = 1280) -> str:
        name = named(kind)
        browser.open(f"{server.url}/#{name}", width, phone=width < 600)
        browser.wait_for("document.querySelector('#fields label')")
        return name

    yield call
    assert browser.errors() == []


@pytest.fixture
def ask(show, server, browser):
    """Types ``texts`` into the page of a run, sends them by the keyboard, and returns what /predict says to the same."""

    def call(kind: str, width: int = 1280, **texts: str) -> dict:
        name = show(kind, width)
        for role, text in texts.items():
            browser.type(f"#field-{role}", text)
        browser.press("Enter", CTRL)
        browser.wait_for("!document.querySelector('#answer .wait, #answer[aria-busy]')")
        return server.ask(f"/predict?run={name}", texts)

    return call


def test_an_explanation_stands_beside_the_answer_and_adds_up(server, named):
    row = {"text": "the roses near waves", "explanation": "mine"}
    for kind in ("classes", "numbers"):
        told = server.ask(f"/explain?run={named(kind)}", row)
        found = told.pop("explanation")
        plain = server.ask(f"/predict?run={named(kind)}", row)
        assert told.pop("input.explanation") == plain.pop("explanation") == "mine"
        assert told == plain
        assert len(found["tokens"]) == len(found["weights"]) > 3
        assert sum(found["weights"]) == pytest.approx(found["difference"], abs=0.03 * abs(found["difference"]) + 2e-3)
    looked = server.ask(f"/explain?run={named('pairs')}", {"source": "two one two"})["explanation"]
    assert looked["source"][:3] == ["two", "one", "two"] and len(looked["weights"]) == len(looked["target"])
    assert all(sum(row) == pytest.approx(1, abs=1e-2) for row in looked["weights"])
    assert server.ask(f"/explain?run={named('classes')}", {"text": " "})["explanation"] is None
    server.ask(f"/explain?run={named('classes')}", [row], code=422)
    for kind in ("classical", "tags", "labels", "text", "answers"):
        told = server.ask(f"/explain?run={named(kind)}", row, code=400)
        assert f"/predict?run={named(kind)}" in told["error"]["message"]


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def test_a_class_is_shown_with_the_probabilities_of_all_and_with_what_speaks_for_it(ask, browser):
    text = "the roses near waves\nand 'some' old tulips"
    told = ask("classes", text=text)
    assert browser.text("#answer .headline").split("\n") == [told["predicted"], percent(told["probability"])]
    ranked = sorted(told["probabilities"].items(), key=lambda pair: -pair[1])
    rows = browser.look("[...document.querySelectorAll('#answer .bars li')].map((row) => row.innerText.split('\\n'))")
    assert [row[:2] for row in rows] == [[name, percent(share)] for name, share in ranked]
    browser.look("document.querySelector('#answer .explain').click()")
    browser.wait_for("document.querySelector('#answer .explanation')")
    pieces = browser.look(
        "[...document.querySelectorAll('.explanation .running span')].map((one) => [one.textContent, one.className])"
    )
    assert "".join(piece for piece, _ in pieces) == text
    assert {kind for piece, kind in pieces if piece.strip()} <= {"pro", "contra"} and len(pieces) > 4
    assert told["predicted"] in browser.text(".explanation .note")


def test_entities_are_marked_in_the_text_as_it_was_typed(ask, browser):
    text = "🌹 Anna  sees 北京\nRome 🌹"
    told = ask("tags", text=text)
    assert len(told["entities"]) >= 5
    marks = browser.look(
        "[...document.querySelectorAll('#answer mark')].map((one) => [one.firstChild.data, one.lastChild.textContent])"
    )
    assert marks == [[one["text"], one["type"]] for one in told["entities"]]
    plain = (
        "[...document.querySelector('#answer .running').childNodes].map((one) => (one.firstChild ?? one).data).join('')"
    )
    assert browser.look(plain) == text
    kinds = browser.look("[...document.querySelectorAll('#answer .legend bdi')].map((one) => one.textContent)")
    assert set(kinds) == {one["type"] for one in told["entities"]}


def test_the_answer_is_marked_in_its_context(ask, browser):
    context = "🌹 The anchor costs 40 é. The rose costs 5 é."
    told = ask("answers", context=context, question="What costs the rose?")
    assert told["answer"]
    place = "(({firstChild, childNodes: [, mark]}) => [Array.from(firstChild.data).length, mark.className, mark.textContent])"
    found = browser.wait_for(
        f"document.querySelector('#answer .running mark') && {place}(document.querySelector('#answer .running'))"
    )
    assert found == [told["start"], "found", told["answer"]]
    assert browser.text("#answer .headline").split("\n")[0] == told["answer"]


def test_several_labels_and_numbers(ask, browser):
    told = ask("labels", text="roses and waves")
    said = browser.look("[...document.querySelectorAll('#answer .headline .chip')].map((one) => one.textContent)")
    assert said == told["predicted"] != []
    told = ask("numbers", text="love it")
    assert float(browser.text("#answer .headline")) == pytest.approx(told["predicted"], rel=1e-3)


def test_a_word_that_was_written_lights_up_where_the_model_looked(ask, browser):
    told = ask("pairs", source="two one two")
    assert browser.look("document.querySelector('#answer .written').textContent") == told["prediction"]
    browser.look("document.querySelector('#answer .explain').click()")
    browser.wait_for("document.querySelector('#answer .look .here')")
    shares = "[...document.querySelectorAll('#answer .look')][0].querySelectorAll('.pro')"
    words = browser.look(f"[...{shares}].map((one) => one.textContent)")
    assert [word for word in words if word in ("one", "two")] == ["two", "one", "two"]
    assert max(browser.look(f"[...{shares}].map((one) => parseFloat(one.style.getPropertyValue('--share')))")) == 70


def test_a_classical_run_answers_and_explains_nothing(ask, browser):
    told = ask("classical", text="roses and waves")
    assert browser.text("#answer .headline").split("\n")[0] == told["predicted"]
    assert not browser.look("document.querySelector('#answer .explain') !== null")


WATCH = """
const seen = [];
new MutationObserver(() => {
  const text = document.querySelector("#answer .going > span:last-child")?.textContent;
  if (text !== undefined && text.length !== seen.at(-1)) seen.push(text.length);
}).observe(document.getElementById("answer"), { subtree: true, childList: true, characterData: true });
window.seen = seen;
"""


@pytest.fixture(scope="module")
def ways(server, named) -> dict:
    """Ways to write a text that does not end by itself."""
    ways = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 60}
    for seed in range(100):
        asked = {"model": named("text"), "prompt": "the roses", **ways, "seed": seed}
        if server.ask("/v1/completions", asked)["choices"][0]["finish_reason"] == "length":
            return {**ways, "seed": seed}
    raise AssertionError("every text ends")


def written(browser, ways: dict) -> None:
    browser.type("#field-text", "the roses")
    for key, value in ways.items():
        browser.type(f"#ways [name={key}]", str(value))
    browser.look(WATCH)
    browser.press("Enter", CTRL)


def test_a_text_streams_in_piece_by_piece_and_is_that_of_the_seed(show, server, browser, ways):
    name = show("text")
    written(browser, ways)
    browser.wait_for("document.querySelector('#answer .written:not(.going)')")
    seen = browser.look("seen")
    assert len(seen) > 5 and seen == sorted(seen)
    told = server.ask("/v1/completions", {"model": name, "prompt": "the roses", **ways})
    shown = browser.look("document.querySelector('#answer .written').textContent")
    assert shown == "the roses" + told["choices"][0]["text"]
    assert browser.text("#answer .note").startswith("60 tokens, as many as were asked for")


@pytest.fixture
def slowly(browser):
    """Makes what the browser is sent come slowly."""

    def call(bytes_a_second: int) -> None:
        browser.call("Network.enable")
        slow = {"offline": False, "latency": 0, "uploadThroughput": -1, "downloadThroughput": bytes_a_second}
        browser.call("Network.emulateNetworkConditions", **slow)

    yield call
    browser.call("Network.disable")


def test_a_text_can_be_stopped(show, slowly, browser, ways):
    show("text")
    slowly(1000)  # it takes 13 seconds
    written(browser, ways)
    browser.wait_for("seen.length > 3")
    browser.press("Escape")
    browser.wait_for("document.querySelector('#answer .written:not(.going)')")
    assert "stopped" in browser.text("#answer .note") and browser.look("document.getElementById('stop').hidden")


def test_what_the_server_refuses_is_shown_as_it_says_it(show, server, browser):
    name = show("text")
    browser.type("#ways [name=max_tokens]", "99999")
    browser.press("Enter", CTRL)
    shown = browser.wait_for("document.querySelector('#answer .error')?.textContent")
    told = server.ask("/v1/completions", {"model": name, "max_tokens": 99999}, code=400)
    assert shown == f"400 {told['error']['message']}"


def test_a_text_is_text_and_a_phone_needs_no_scrolling_to_the_side(ask, browser):
    long = "word" * 60
    for kind, roles in (
        ("classes", ["text"]), ("tags", ["text"]), ("answers", ["question", "context"]), ("pairs", ["source"]),
        ("labels", ["text"]), ("numbers", ["text"]), ("text", ["text"]),
    ):  # fmt: skip
        ask(kind, 390, **dict.fromkeys(roles, f"{EVIL} {long}"))
        if browser.look("document.querySelector('#answer .explain') !== null"):
            browser.look("document.querySelector('#answer .explain').click()")
            browser.wait_for("document.querySelector('#answer .explanation')")
        browser.look("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        shown = browser.look("document.getElementById('answer').textContent")
        assert (EVIL if kind != "tags" else "onerror") in shown, kind
        assert not browser.look("document.images.length") and "groundup" in browser.look("document.title")
        assert browser.look("document.documentElement.scrollWidth") == 390, kind


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_the_command_that_is_shown_makes_the_same_request(ask, browser):
    told = ask("classes", text='it\'s 北京; $HOME \\ "roses"\n`waves`')
    browser.look("document.querySelector('#same').open = true")
    command = browser.wait_for("document.querySelector('#command').textContent")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout) == told, done.stderr


def test_a_very_long_text_is_answered(show, browser):
    show("classes")
    browser.look("document.querySelector('#same').open = true")
    browser.look("document.getElementById('field-text').value = 'waves roses '.repeat(8000)")  # 96,000 characters
    browser.look("document.getElementById('ask').requestSubmit()")
    assert "Only a part of it was read" in browser.wait_for("document.querySelector('#answer .told')?.textContent")
    assert browser.look("document.getElementById('command').textContent.length") < 5000


def test_a_server_with_a_token_is_asked_with_it_and_forgets_it_with_the_tab(runs, browser, tmp_path, monkeypatch):
    monkeypatch.setenv("GROUNDUP_TOKEN", TOKEN)
    with serving(tmp_path / "guarded", f"run={runs['classical']}") as served:
        browser.open(served.url)
        for given in ("another-token-than-that", TOKEN):
            browser.wait_for("!document.getElementById('token').hidden")
            browser.type("#secret", given)
            browser.press("Enter")
            if given != TOKEN:
                browser.wait_for("document.getElementById('refused').textContent.includes('a token is needed')")
        browser.wait_for("document.querySelector('#fields label')")
        browser.type("#field-text", "roses")
        browser.press("Enter", CTRL)
        browser.wait_for("document.querySelector('#answer .headline')")
        assert browser.look("[localStorage.length, document.cookie, location.href.includes('token')]") == [0, "", False]
        assert TOKEN not in browser.look("document.documentElement.outerHTML")
    browser.errors()  # of the browser: that it was refused
