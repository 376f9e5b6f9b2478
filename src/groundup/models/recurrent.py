"""LSTM, GRU and plain RNN: as an encoder (read both ways) or a decoder (left to right)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from groundup.errors import ArgumentError
from groundup.models.attention import MemoryAttention, make_mask
from groundup.models.backbone import Backbone, DecoderBackbone, EncoderBackbone
from groundup.models.cache import Memory, RecurrentState
from groundup.models.characters import FEATURES, CharacterFeatures, Characters
from groundup.models.heads import Pooling
from groundup.models.kernels import Mask
from groundup.models.layers import FusedLinear, plus
from groundup.models.recurrent_layer import LockedDropout, Ragged, RecurrentLayer
from groundup.ranges import Count, Rate


class Recurrent(Backbone):
    """What encoder and decoder share: embeddings and a stack of recurrent layers.

    ``width``: of the hidden vectors; two directions have half of it each. ``embedding_width``: None: ``width``.
    ``fed``: features that the first layer reads beside the embedding. ``residual``: each layer after the first adds to
    its input. ``dropout``: on the embeddings, between layers and on the output, anew for each token or, with
    ``locked_dropout``, one mask for all steps of a text (Gal and Ghahramani 2016). ``embedding_dropout``: whole words of
    the vocabulary. ``layer``: the options of a layer. ``position_ids`` say nothing to a recurrent model.

    Raises ArgumentError for a width that two directions cannot share.
    """

    free_arguments = Backbone.free_arguments | {"locked_dropout", "embedding_dropout", "weight_drop"}

    def __init__(
        self,
        vocab_size: int,
        width: int,
        layers: int,
        bidirectional: bool = False,
        fed: int = 0,
        *,
        embedding_width: Count | None = None,
        residual: bool = False,
        dropout: Rate = 0.1,
        locked_dropout: bool = False,
        embedding_dropout: Rate = 0.0,
        **layer: Annotated[Any, RecurrentLayer],
    ):
        super().__init__()
        if bidirectional and width % 2:
            raise ArgumentError(f"width={width} cannot be split over two directions", f"width={width + 1}")
        self.vocab_size, self.width, self.residual = vocab_size, width, residual
        self.dropout = LockedDropout(dropout) if locked_dropout else nn.Dropout(dropout)
        self.embedding_dropout = embedding_dropout
        self.embedding = nn.Embedding(vocab_size, embedding_width or width)
        nn.init.normal_(self.embedding.weight, std=0.1)  # nothing normalises what an LSTM reads
        inputs = [self.embedding.embedding_dim + fed, *[width] * (layers - 1)]
        self.blocks: Any = nn.ModuleList(RecurrentLayer(size, width, bidirectional, **layer) for size in inputs)

    def embed(self, input_ids: Tensor, beside: Tensor | None = None, features: Tensor | None = None) -> Tensor:
        """(N, L) ids -> (N, L, D); ``beside`` (N, L, fed): what stands behind the embedding; ``features``: added to it."""
        if self.training and self.embedding_dropout:
            table = self.embedding.weight
            keep = torch.rand(len(table), 1, device=table.device) >= self.embedding_dropout
            x = nn.functional.embedding(input_ids, table * keep / (1 - self.embedding_dropout))
        else:
            x = self.embedding(input_ids)
        x = plus(x, features)
        return self.dropout(x if beside is None else torch.cat((x, beside), dim=-1))

    def stack(self, x: Tensor, run) -> Tensor:
        """Passes (N, L, D) through the layers; ``run(i, layer, x)`` runs one, dropout included."""
        for i, layer in enumerate(self.blocks):
            y = run(i, layer, x)
            x = x + y if self.residual and i else y
        return x

    def read(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        document_ids: Tensor | None,
        beside: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        """Whole texts from empty states: (B, T) ids, (B, T, fed) beside and (B, T, E) on their embeddings -> hidden (B, T, D)."""
        if attention_mask is None and document_ids is None:
            return self.stack(self.embed(input_ids, beside, features), lambda i, layer, x: self.dropout(layer(x)))
        ragged = Ragged.layout(attention_mask, document_ids)
        beside, features = (None if one is None else ragged.gather(one) for one in (beside, features))
        x = self.embed(ragged.gather(input_ids), beside, features)
        hidden = self.stack(x, lambda i, layer, x: self.dropout(layer(x, ragged.reverse)))
        return ragged.scatter(hidden, input_ids.shape)


class RecurrentEncoder(Recurrent, EncoderBackbone):
    """Reads a text in both directions (``bidirectional``), so each hidden vector knows all of it. Padding never leaks.

    ``characters``: what each word is made of, read by a network of its own; its vector stands behind the embedding.
    Source: Graves and Schmidhuber 2005.
    """

    additions = frozenset({"characters"})

    def __init__(
        self,
        vocab_size: Count,
        width: Count = 128,
        layers: Count = 2,
        bidirectional: bool = True,
        characters: Characters | None = None,
        **shared: Annotated[Any, Recurrent],
    ):
        super().__init__(vocab_size, width, layers, bidirectional, fed=FEATURES if characters else 0, **shared)
        self.reads_both_ways, self.reads_characters = bidirectional, characters is not None
        self.characters = CharacterFeatures(characters, FEATURES, std=0.1) if characters else None

    def levels(self) -> list[list[nn.Module]]:
        embedding, *blocks = super().levels()
        return [[*embedding, *([self.characters] if self.characters is not None else [])], *blocks]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        characters: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        spelling = None if self.characters is None else self.characters(input_ids, characters)
        return self.read(input_ids, attention_mask, document_ids, spelling, features)


class RecurrentDecoder(Recurrent, DecoderBackbone):
    """Reads from left to right; with ``cross_attention`` it also knows an encoder's output, the memory.

    It starts from a learned map of the memory's last and first vectors, which hold both final states of a BiLSTM.
    ``attention`` (see ``MemoryAttention``; ``none``: the start is all it knows) looks at all of the memory from the top
    layer. ``input_feeding``: what that gave goes into the first layer's next step, so that a step knows where the one
    before looked; the price is a loop over steps instead of one fused kernel. Both only with ``cross_attention``.

    Raises ArgumentError for input feeding with nothing to feed.
    Source: Sundermeyer et al. 2012; Sutskever et al. 2014; Luong et al. 2015 (attention on top, input feeding).
    """

    def __init__(
        self,
        vocab_size: Count,
        width: Count = 128,
        layers: Count = 2,
        cross_attention: bool = False,
        attention: Literal["none", "dot", "general", "additive"] = "general",
        input_feeding: bool = False,
        **shared: Annotated[Any, Recurrent],
    ):
        if input_feeding and (not cross_attention or attention == "none"):
            raise ArgumentError(
                "input_feeding feeds back what attention to an encoder says, and here is none",
                "attention=general" if cross_attention else "input_feeding=false",
            )
        super().__init__(vocab_size, width, layers, fed=width if input_feeding else 0, **shared)
        self.cross_attention, self.input_feeding = cross_attention, input_feeding
        self.parts = self.blocks[0].parts  # of a layer's state
        self.memory_attention: MemoryAttention | None = None
        if cross_attention:
            self.start: Any = FusedLinear(2 * width, [width] * (layers * self.parts), bias=True)
            nn.init.normal_(self.start.weight, std=(2 * width) ** -0.5)
            nn.init.zeros_(self.start.bias)
            if attention != "none":
                self.memory_attention = MemoryAttention(width, attention)

    @property
    def top_attention(self) -> MemoryAttention | None:
        return self.memory_attention

    def initial_state(self, batch_size: int, max_length: int | None = None, device=None, dtype=None) -> RecurrentState:
        """Zeros, until a memory comes. The state never grows, so ``max_length`` changes nothing."""
        weight = self.embedding.weight
        zeros = torch.zeros(batch_size, self.width, device=device or weight.device, dtype=dtype or weight.dtype)
        return RecurrentState([(zeros,) * self.parts for _ in self.blocks])

    def forward(
        self,
        input_ids: Tensor,
        state: RecurrentState | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> tuple[Tensor, RecurrentState | None]:
        if document_ids is not None and (state is not None or self.cross_attention):
            raise ValueError("document_ids are for whole windows; a state or a memory is for one document a row")
        if memory is not None and not self.cross_attention:
            raise ValueError("this decoder has no cross_attention, so it cannot look at a memory")
        before = state
        if self.cross_attention and (state is None or state.length == 0):
            if memory is None:
                raise ValueError("a decoder with cross_attention needs a memory on its first call")
            before = self.state_from(memory, memory_mask)
        if before is None:
            return self.read(input_ids, attention_mask, document_ids), None
        hidden, layers = self.read_on(input_ids, before, attention_mask, last=state is not None)
        if state is None:
            return hidden, None
        return hidden, RecurrentState(layers, before.length + input_ids.shape[1], before.memory)

    def state_from(self, memory: Tensor, memory_mask: Tensor | None) -> RecurrentState:
        """The state that a memory (B, S, D) leads to."""
        ends = [Pooling(kind, self.width)(memory, memory_mask) for kind in ("last", "cls")]
        parts = self.start(torch.cat(ends, dim=-1)).split(self.width, dim=-1)
        layers = [
            (parts[i].tanh(), *parts[i + 1 : i + self.parts])  # a hidden state is bounded, an LSTM's cell is not
            for i in range(0, len(parts), self.parts)
        ]
        if self.input_feeding:
            layers.append((torch.zeros_like(layers[0][0]),))
        if self.memory_attention is None:
            return RecurrentState(layers)
        return RecurrentState(layers, memory=Memory([self.memory_attention.project(memory)], memory_mask))

    def read_on(self, input_ids, state: RecurrentState, attention_mask, last: bool) -> tuple[Tensor, list[tuple]]:
        """Reads on from a state: ids (B, T) -> hidden (B, T, D), and the state of each layer.

        With padding, a row's state is that after its last real token, where it is wanted (``last``).
        """
        run = self.step_by_step if self.input_feeding else self.all_at_once
        if attention_mask is None:
            return run(self.embed(input_ids), state, None)
        ragged = Ragged.layout(attention_mask, None)
        hidden, after = run(self.embed(ragged.gather(input_ids)), state, ragged.lengths if last else None)
        return ragged.scatter(hidden, input_ids.shape), after

    def all_at_once(self, x: Tensor, state: RecurrentState, lengths: Tensor | None) -> tuple[Tensor, list[tuple]]:
        """One fused kernel a layer: x (N, L, D_in) -> hidden (N, L, D), and the state of each layer after it."""
        after = []

        def run(i: int, layer: RecurrentLayer, x: Tensor) -> Tensor:
            packed = None if lengths is None else lengths.clamp(min=1).cpu()
            y, new = layer.step(x, state.layers[i], layer.dropped(layer.forwards), packed)
            # a row of padding only keeps its state
            after.append(new if lengths is None else choose(lengths > 0, new, state.layers[i]))
            return self.dropout(y)

        hidden = self.stack(x, run)
        if self.memory_attention is None:
            return hidden, after
        return self.dropout(self.memory_attention(hidden, *keys_and_values(state))), after

    def step_by_step(self, x: Tensor, state: RecurrentState, lengths: Tensor | None) -> tuple[Tensor, list[tuple]]:
        """The same with input feeding: each step reads, beside its token, the attentional vector of the step before."""
        assert self.memory_attention is not None
        before, after, vectors, known = state.layers, [], [], keys_and_values(state)
        # Drawn before the loop, so that what is locked, or dropped from a matrix, is so for all steps.
        matrices = [layer.dropped(layer.forwards) for layer in self.blocks]
        ones = x.new_ones(*x.shape[:2], self.width)
        masks = [self.dropout(ones) for _ in range(len(self.blocks) + 1)] if self.training else None

        def drop(i: int, y: Tensor) -> Tensor:
            return y if masks is None else y * masks[i][:, t : t + 1]

        def run(i: int, layer: RecurrentLayer, x: Tensor) -> Tensor:
            y, new = layer.step(x, before[i], matrices[i])
            after.append(new)
            return drop(i, y)

        for t in range(x.shape[1]):
            after, fed = [], before[-1][0].unsqueeze(1)
            hidden = self.stack(torch.cat((x[:, t : t + 1], fed), dim=-1), run)
            vectors.append(drop(-1, self.memory_attention(hidden, *known)))
            after.append((vectors[-1].squeeze(1),))
            if lengths is not None:
                after = [choose(t < lengths, new, old) for new, old in zip(after, before, strict=True)]
            before = after
        return torch.cat(vectors, dim=1), before


def keys_and_values(state: RecurrentState) -> tuple[Tensor, Tensor, Mask]:
    """Those of the memory in a state, (sources, S, D) each, and which of them are real."""
    assert state.memory is not None
    key, value = state.memory.layers[0]
    return key, value, make_mask(1, key.shape[1], False, state.memory.mask, device=key.device)


def choose(rows: Tensor, new: tuple[Tensor, ...], old: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The new parts of a state in these ``rows`` (N,) bool, the old ones elsewhere."""
    return tuple(torch.where(rows.unsqueeze(-1), *pair) for pair in zip(new, old, strict=True))
