"""The check against signatures, for our classes and those of others."""

from __future__ import annotations

import pytest

from groundup.config.check import Mistake, advised, check
from groundup.config.signatures import parameters_of
from groundup.config.values import Parameter, in_words, misfit
from groundup.errors import UserError
from groundup.models.recurrent import RecurrentDecoder
from groundup.models.transformer import TransformerDecoder


def node(**values):
    return {"model": {"_target_": "toy_parts.Net", **values}}


def refused(cfg, **more) -> str:
    with pytest.raises(UserError) as error:
        check(cfg, **more)
    return str(error.value)


def test_right_values_pass(toy):
    check(node(width=8, dropout=0, cell="gru", betas=[0.9, 1], bias=False, name=None, warmup=0.5))
    check(node(inner={"_target_": "toy_parts.Net", "vocab_size": 3}))


def test_nested_nodes_are_checked(toy):
    assert refused(node(inner={"_target_": "toy_parts.Net", "vocab_size": 3, "width": 0})).startswith(
        "model.inner.width = 0:"
    )


def test_a_part_without_its_class_is_named():
    assert refused({"budget": {}, "model": {"width": 8}}).startswith(
        "model._target_: no class is named. Try +model._target_="
    )


def test_a_class_typed_over_a_choice_is_told_to_have_a_file_of_its_own(monkeypatch):
    monkeypatch.delenv("GROUNDUP_CONF", raising=False)
    words = ["model._target_=torch.nn.LSTM"]
    said = str(
        advised(Mistake("model.layers", "LSTM has no such argument", None, 2, unknown=True), "finetune", words).line(
            None
        )
    )
    assert said.endswith(
        "LSTM has no such argument. A class of your own has a file of its own, conf/model/NAME.yaml. Try model=NAME"
    )


def test_missing_argument_unless_code_supplies_it(toy):
    check(node())
    assert refused(node(), supplied={}) == "model.vocab_size: no value, and Net needs one. Try +model.vocab_size=..."
    check({"scheduler": {"_target_": "toy_parts.Cosine", "_partial_": True}}, supplied={})
    assert "final = -1: must be at least 0" in refused(
        {"scheduler": {"_target_": "toy_parts.Cosine", "_partial_": True, "final": -1}}
    )


def test_hints_that_cannot_be_read_here_are_let_pass(toy):
    check(node(mystery={"some": "thing"}))
    import toy_parts

    parameters, takes_any = parameters_of(toy_parts.Net)
    assert not takes_any
    assert parameters["width"].default == 16


def test_torch_optimizers_are_covered():
    good = {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 1e-3, "betas": [0.9, 0.98], "fused": True}
    check({"optimizer": good})
    line = refused({"optimizer": {**good, "weight_dcay": 0.1}})
    assert (
        line
        == "optimizer.weight_dcay = 0.1: AdamW has no such argument; did you mean 'weight_decay'? Try optimizer.weight_decay=0.1"
    )
    for mistake, allowed in (
        ({"lr": -1}, "lr = -1: must be at least 0"),
        ({"betas": [0.9, 1.5]}, "betas[1]"),
        ({"eps": -1}, "eps"),
    ):
        assert refused({"optimizer": {**good, **mistake}}).startswith(f"optimizer.{allowed}")
    assert "optimizer.amsgrad = often: must be true or false" in refused({"optimizer": {**good, "amsgrad": "often"}})


def test_a_number_for_a_list_is_said_in_words_one_can_type_and_the_rest_is_not_guessed():
    node = {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 1e-3, "betas": 0.9}
    assert refused({"optimizer": node}).startswith("optimizer.betas = 0.9: must be a list [a number >= 0 and < 1, ")
    assert "Try" not in refused({"optimizer": node})


@pytest.mark.slow
def test_lightning_trainer_is_covered():
    good = {
        "_target_": "lightning.pytorch.Trainer",
        "accelerator": "cpu",
        "devices": 1,
        "precision": "32-true",
        "gradient_clip_val": 1,
    }
    check({"trainer": good})
    assert "did you mean 'max_steps'?" in refused({"trainer": {**good, "max_step": 3}})
    assert "trainer.devices = 1.5" in refused({"trainer": {**good, "devices": 1.5}})


@pytest.mark.parametrize(
    ("annotation", "value", "fits"),
    [
        (int, 3, True),
        (int, True, False),
        (int, "3", False),
        (int, 3.0, False),
        (float, 3, True),
        (float, "1e-3", False),
        (bool, 1, False),
        (bool, "yes", False),
        (str, 5, False),
        (int | str, "auto", True),
        (list[int] | str | int, [1, 2], True),
        (list[int], ["1"], False),
        (tuple[float, float], [0.9, 0.95], True),
        (tuple[float, float], [0.9], False),
        (dict[str, int], {"a": "1"}, False),
        (int | None, None, True),
    ],
)
def test_value_must_have_the_kind_the_constructor_asks_for(annotation, value, fits):
    assert (misfit(Parameter(annotation), value) is None) == fits


def test_annotations_in_words():
    from typing import Annotated, Literal

    from pydantic import Field

    assert in_words(Annotated[float, Field(ge=0, lt=1)] | None) == "a number >= 0 and < 1 or null"
    assert in_words(Literal["cls", "mean"]) == "one of cls, mean"
    assert in_words(Literal["rms", "layer"] | Literal["none"] | None) == "one of rms, layer, none or null"
    assert in_words(list[int]) == "a list [a whole number]"
    assert in_words(dict[str, int]) == "keys with values"


def test_options_that_a_class_passes_on_are_its_own(toy):
    found, takes_any = parameters_of(TransformerDecoder)
    assert not takes_any and "block" not in found and "width_in" not in found
    assert found["qk_norm"].default is True and found["dropout"].default == 0.1
    found, takes_any = parameters_of(RecurrentDecoder)  # through two classes
    assert not takes_any and found["weight_drop"].default == 0.0 and found["embedding_width"].default is None
    decoder = {"model": {"_target_": "groundup.models.recurrent.RecurrentDecoder", "cell": "lstm"}}
    assert refused({"model": decoder["model"] | {"weight_drop": 1}}).startswith(
        "model.weight_drop = 1: must be less than 1"
    )
    assert "RecurrentDecoder has no such argument" in refused({"model": decoder["model"] | {"bidirectional": True}})
