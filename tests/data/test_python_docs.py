"""The embedded sets: leak-free, balanced enough, the same each time."""

from collections import Counter

import pytest

from groundup.data.sources.labels import label_names
from groundup.data.sources.library import TOPICS, Docstring, extract, topic_of
from groundup.data.sources.python_docs import PythonDocs, assign, make, qualified_name, summaries
from groundup.data.sources.source import SPLITS
from groundup.errors import UserError
from groundup.text.clean import Clean


@pytest.fixture(scope="module")
def docstrings():
    return extract()


@pytest.fixture(scope="module")
def sets(docstrings):
    return make(docstrings)


def contents(row):
    """The texts of a row of any set."""
    return " ".join(row[role] for role in ("text", "source", "target") if role in row)


def test_related_pairs_are_balanced_and_score_what_their_names_share(docstrings, sets):
    names = {(doc.module, doc.text): qualified_name(doc) for doc in docstrings[::-1]}  # of a text twice, the first
    for split, least in (("train", 100), ("validation", 10), ("test", 50)):
        rows = sets["related"][split]
        counts = Counter(row["score"] for row in rows)
        assert set(counts) == {0, 1, 2, 3, 4, 5} and min(counts.values()) >= least
        assert max(counts.values()) < 0.35 * len(rows)
        for row in rows:
            one, other = names[row["module"], row["text"]], names[row["module_pair"], row["text_pair"]]
            assert row["text"] != row["text_pair"]
            assert row["score"] == max(
                depth for depth in range(6) if one[:depth] == other[:depth] and len(one) >= depth
            )
        assert len({frozenset((row["text"], row["text_pair"])) for row in rows}) == len(rows)
    test = {row[name] for row in sets["related"]["test"] for name in ("module", "module_pair")}
    train = {row[name] for row in sets["related"]["train"] for name in ("module", "module_pair")}
    assert not test & (train | {row["module"] for row in sets["text"]["train"]})


def words(text):
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def test_no_module_is_in_two_splits_of_either_set(sets):
    split_of = {}
    for rows_of in sets.values():
        for split, rows in rows_of.items():
            for row in rows:
                assert split_of.setdefault(row["module"], split) == split


def test_no_held_out_docstring_stands_in_any_training_text(sets):
    training = " ".join(words(contents(row)) for rows_of in sets.values() for row in rows_of["train"])
    for split in ("validation", "test"):
        for row in sets["topic"][split]:
            assert f" {words(row['text'])} " not in training
        for row in sets["summary"][split]:
            assert f" {words(row['source'])} " not in training


def test_no_docstring_twice(sets):
    texts = Counter(words(row["text"]) for split in SPLITS for row in sets["topic"][split])
    assert texts.most_common(1)[0][1] == 1


def test_summaries_are_one_line_and_stand_before_their_body(docstrings, sets):
    texts = {words(doc.text) for doc in docstrings}
    for split in SPLITS:
        for row in sets["summary"][split]:
            assert "\n" not in row["target"] and 3 <= len(words(row["target"]).split()) <= 60
            assert words(row["target"] + " " + row["source"]) in texts
            assert not row["module"].startswith("pydoc_data")


def test_no_body_twice_and_none_that_says_the_summary_again(sets):
    rows = [row for split in SPLITS for row in sets["summary"][split]]
    assert max(Counter(words(row["source"]) for row in rows).values()) == 1
    for row in rows:
        body, line = words(row["source"]), words(row["target"])
        assert f" {line} " not in f" {body} "
        assert len(body.split()) >= 12 and len(set(body.split()) - set(line.split())) > 2


@pytest.mark.parametrize(
    "text",
    [
        "Return the number of rows.",  # no body
        "Return the number of rows.\n\nEmpty ones too.",  # hardly any
        "Rows\n\nThis returns the number of rows that are in the table, counted from the first one.",  # a name
        "f(a, b) -> int\n\nThis returns the number of rows that are in the table, counted from the first one.",
        "Options:\n\nThis returns the number of rows that are in the table, counted from the first one.",
        "Return the number of rows.\n\nReturn the number of rows in a table whose lines were all read before by us.",
        "Return the number of rows\nof a table\nwhich is here.\n\nIt counts them all from the first one to the last one.",
    ],
)
def test_docstrings_without_summary_or_body_are_left_out(text):
    assert summaries([Docstring("m", "f", "def f()", text)]) == []


@pytest.mark.parametrize("end", [".\n\n", "\n\n", ".\n", "\nwhich are here.\n\n", ".\n   \n\n"])
def test_the_summary_is_the_first_sentence_on_lines_of_its_own(end):
    body = "Empty ones count too,\n  as do comments;\n\nnothing is read twice, and nothing is kept in memory."
    ((_, long, short),) = summaries([Docstring("m", "f", "", f"Give the number of rows{end}{body}")] * 2)
    assert long == body and short == " ".join(f"Give the number of rows{end}".split())


def test_every_topic_is_in_every_split_and_none_dominates(sets):
    for split in SPLITS:
        counts = Counter(row["label"] for row in sets["topic"][split])
        assert set(counts) == set(TOPICS)
        assert max(counts.values()) < 0.35 * sum(counts.values())


def test_sizes_are_worth_the_name(sets):
    rows = {split: len(sets["topic"][split]) for split in SPLITS}
    assert rows["train"] > 2000 and rows["validation"] > 200 and rows["test"] > 300
    characters = {split: sum(len(row["text"]) for row in sets["text"][split]) for split in SPLITS}
    pairs = {split: len(sets["summary"][split]) for split in SPLITS}
    assert pairs["train"] > 1000 and pairs["validation"] > 100 and pairs["test"] > 200
    assert characters["train"] > 1_000_000 and characters["validation"] > 50_000 and characters["test"] > 50_000


def test_topic_can_be_learned_from_words_but_not_fully(sets):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    data = {
        split: ([row["text"] for row in rows], [row["label"] for row in rows]) for split, rows in sets["topic"].items()
    }
    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, max_features=8000), LogisticRegression(C=5, max_iter=200, tol=1e-3)
    )
    accuracy = model.fit(*data["train"]).score(*data["test"])
    majority = Counter(data["test"][1]).most_common(1)[0][1] / len(data["test"][1])
    assert majority < 0.3 and majority + 0.2 < accuracy < 0.9


def test_splits_do_not_depend_on_the_order_of_files(docstrings):
    assert assign(docstrings[::-1]) == assign(docstrings)


def test_library_is_read_not_imported_and_without_tests(docstrings):
    modules = {doc.module for doc in docstrings}
    assert "asyncio.streams" in modules and "json" in modules and "pydoc_data.topics.assert" in modules
    assert not any(part in ("test", "tests", "idle_test", "site-packages") for m in modules for part in m.split("."))
    import sys

    assert "antigravity" not in sys.modules and "turtle" not in sys.modules


def test_the_longest_matching_name_decides_the_topic():
    assert topic_of("asyncio.streams") == "concurrency"
    assert topic_of("os") == topic_of("os.path") == "files"
    assert topic_of("osmium") is None
    listed = [module for modules in TOPICS.values() for module in modules.split()]
    assert len(listed) == len(set(listed))


def test_a_docstring_that_stands_for_two_topics_is_dropped():
    long = "Read everything that is there and give it back as one string of characters, " + "please " * 5
    docs = [Docstring(m, "f", "def f()", long + m * own) for m, own in [("http", 0), ("threading", 0), ("json", 1)]]
    rows = [row for split in SPLITS for row in make(docs)["topic"][split]]
    assert [row["module"] for row in rows] == ["json"]


def test_rows_from_the_cache_are_those_of_a_new_extraction(sets):
    topic, text, summary, related = (PythonDocs(name) for name in ("topic", "text", "summary", "related"))
    for split in SPLITS:
        assert list(topic.rows(split)) == [{"text": r["text"], "label": r["label"]} for r in sets["topic"][split]]
        assert list(text.rows(split)) == [{"text": r["text"]} for r in sets["text"][split]]
        pairs = [{"source": r["source"], "target": r["target"]} for r in sets["summary"][split]]
        assert list(summary.rows(split)) == pairs
        scored = [{role: r[role] for role in ("text", "text_pair", "score")} for r in sets["related"][split]]
        assert list(related.rows(split)) == scored


def test_rows_are_made_once_for_both_sets_and_cleaned_on_the_way(cache_dir, monkeypatch):
    made = []

    def few():
        made.append(1)
        return [
            Docstring(f"{m}.m{i}", "f", "def f()", f"What {m} does with {'It ' * i}") for m in "xy" for i in range(60)
        ]

    monkeypatch.setattr("groundup.data.sources.python_docs.extract", few)
    upper, lower = PythonDocs("text"), PythonDocs("text", clean=Clean(lowercase=True))
    assert [row["text"].lower() for row in upper.rows("test")] == [row["text"] for row in lower.rows("test")]
    assert upper.fingerprint("test") != lower.fingerprint("test") != lower.fingerprint("train")
    assert lower.fingerprint("test") == PythonDocs("text", clean=Clean(lowercase=True)).fingerprint("test")
    PythonDocs("topic").splits()
    assert len(made) == len(list(cache_dir.iterdir())) == 1


def test_topic_has_labels_in_a_fixed_order_and_three_splits():
    topic = PythonDocs("topic")
    names, counts = label_names(topic)
    assert names == tuple(sorted(TOPICS)) and sum(counts) == len(topic.rows("train"))
    assert topic.splits() == list(SPLITS)
    with pytest.raises(UserError, match="no dev split"):
        topic.rows("dev")


def test_python_without_its_sources_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(UserError, match=r"data=files data.train=FILE"):
        extract()
