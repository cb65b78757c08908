"""Semantic tokens of several sentences at once: each has a row, and a row that ends is free for the next sentence.

A step draws a token for every row and reads it, on the device and without a word to the processor, which looks at the
tokens after every few steps. On CUDA a step is one captured graph for each number of rows and each length.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from voiceclone.inference.drawing import FIRST_END_STEP, Draw
from voiceclone.inference.torch_sampling import RowGuides, RowSettings, sample_rows
from voiceclone.text_to_semantic.torch_static import StaticDecoder

#: Steps between two looks at the tokens: a look waits for the device, a step too many is thrown away.
STEPS_ON_CPU, STEPS_ON_CUDA = 1, 5
#: Lengths of the attention are rounded up to this: each has its own graph on CUDA.
LENGTHS_ON_CPU, LENGTHS_ON_CUDA = 32, 256


@dataclass
class _Sentence:
    """A sentence in a row, and the state of its noise before the newest steps."""

    wanted: Draw
    filled: int
    codes: list[int] = field(default_factory=list)
    noise_state: Any = None


class TokenLoop:
    """Speaks sentences in the rows of a decoder.

    The tokens of a sentence do not depend on what is in the other rows, but for rounding: its noise is that of its own
    generator, in the order in which :func:`voiceclone.inference.sampling.sample` asks for it.

    Args:
        decoder: text to semantic; nobody else may use it.
        steps: between two looks at the tokens; None: what suits the device.
    """

    def __init__(self, decoder: StaticDecoder, steps: int | None = None) -> None:
        rows, device = decoder.rows, decoder.device
        self._decoder, self._codes = decoder, decoder.config.codes
        self._graphs: dict[tuple[int, int, bool], Any] | None = {} if device.type == "cuda" else None
        self._pool = None if self._graphs is None else torch.cuda.graph_pool_handle()
        self._steps = steps or (STEPS_ON_CPU if self._graphs is None else STEPS_ON_CUDA)
        self._lengths = LENGTHS_ON_CPU if self._graphs is None else LENGTHS_ON_CUDA
        self._sentences: list[_Sentence | None] = [None] * rows
        tokens = self._codes + 1
        self._settings = RowSettings.empty(rows, device)
        self._noise = torch.ones(rows, self._steps, tokens, device=device)
        self._fresh_noise = torch.ones(rows, self._steps, tokens, pin_memory=self._graphs is not None)
        self._logits = torch.zeros(rows, tokens, device=device)
        self._used = torch.zeros(rows, tokens, dtype=torch.bool, device=device)
        self._out = torch.zeros(rows, self._steps, dtype=torch.int64, device=device)
        self._position, self._filled, self._drawn, self._limit = torch.zeros(4, rows, dtype=torch.int64, device=device)
        self._running = torch.zeros(rows, dtype=torch.bool, device=device)
        self._guides: RowGuides | None = None  # made for the first sentence that is guided
        self._path, self._seen = torch.zeros(2, rows, self._steps, dtype=torch.int64, device=device)
        self._number = torch.zeros(1, dtype=torch.int64, device=device)

    @property
    def free(self) -> int:
        """Rows without a sentence."""
        return self._sentences.count(None)

    def clear(self) -> None:
        """Forget the sentences that have not ended."""
        self._sentences = [None] * len(self._sentences)
        self._filled.zero_()
        self._running.zero_()

    @torch.inference_mode()
    def add(self, wanted: Draw) -> int:
        """Read a sentence into a free row; returns the row."""
        row = self._sentences.index(None)
        device, filled = self._decoder.device, len(wanted.phones) + len(wanted.prompt)
        needed = filled + wanted.limit + self._steps
        if needed > self._decoder.capacity:
            self._decoder.reserve(needed)
            if self._graphs is not None:
                self._graphs.clear()  # they write to the buffers that were
        phones, prompt = (torch.from_numpy(part)[None].to(device) for part in (wanted.phones, wanted.prompt))
        bert = None if wanted.bert is None else torch.from_numpy(wanted.bert)[None].to(device)
        self._logits[row] = self._decoder.prefill(phones, bert, prompt, row)
        self._settings.set(row, wanted.sampling, self._codes + 1)
        self._guide(row, wanted, phones[0])
        self._used[row] = False
        self._used[row, prompt[0]] = True
        state = (self._position, self._filled, self._drawn, self._limit)
        for tensor, value in zip(state, (len(wanted.prompt), filled, 0, wanted.limit), strict=True):
            tensor[row] = value
        self._running[row] = wanted.limit > 0
        self._sentences[row] = _Sentence(wanted, filled)
        return row

    @torch.inference_mode()
    def advance(self) -> dict[int, tuple[list[int], bool]]:
        """Some steps; per row with a sentence its new tokens, and whether that was all: the row is then free."""
        rows, length = self._size()
        self._draw_noise()
        self._number.zero_()
        size = rows, length, self._guided()
        if self._graphs is not None and size not in self._graphs:
            self._graphs[size] = self._capture(*size)
        for _ in range(self._steps):
            if self._graphs is None:
                self._step(*size)
            else:
                self._graphs[size].replay()
        out = self._out[:rows].tolist()
        if size[2]:
            self._note(out, self._path[:rows].tolist(), self._seen[:rows].tolist())
        return {row: self._take(row, out[row]) for row, sentence in enumerate(self._sentences) if sentence is not None}

    def _guide(self, row: int, wanted: Draw, phones: torch.Tensor) -> None:
        """Have a row guided, or not; room for more phones makes room for all rows anew."""
        before = self._guides
        if before is None and wanted.guide is None:
            return
        if before is None or self._decoder.phone_room > before.phones:
            self._guides = RowGuides(self._decoder.rows, self._decoder.phone_room, self._decoder.emission)
            for index, sentence in enumerate(self._sentences):
                if before is not None and sentence is not None and index != row:
                    read = torch.from_numpy(sentence.wanted.phones).to(phones.device)
                    self._guides.set(index, sentence.wanted.guide, read)
                    for old, new in zip(before.state, self._guides.state, strict=True):
                        new[index, ..., : old.shape[-1]] = old[index]
            if self._graphs is not None:
                self._graphs.clear()  # they write to the buffers that were
        assert self._guides is not None
        self._guides.set(row, wanted.guide, phones)

    def _guided(self) -> bool:
        """Whether any sentence is guided."""
        return any(sentence is not None and sentence.wanted.guide is not None for sentence in self._sentences)

    def _note(self, out: list[list[int]], path: list[list[int]], seen: list[list[int]]) -> None:
        """Tell the guides which phones their tokens speak."""
        for row, sentence in enumerate(self._sentences):
            if sentence is not None and (guide := sentence.wanted.guide) is not None:
                count = sum(token >= 0 for token in out[row])
                for noted, found in ((guide.path, path[row]), (guide.seen, seen[row])):
                    noted += [place - guide.first for place in found[:count]]

    def _size(self) -> tuple[int, int]:
        """Rows that a step computes, and positions that it looks at."""
        busy = [index for index, sentence in enumerate(self._sentences) if sentence is not None]
        longest = max(
            (sentence.filled + len(sentence.codes) for sentence in self._sentences if sentence is not None), default=0
        )
        rows = max(busy, default=0) + 1
        if self._graphs is not None:
            rows = min(1 << (rows - 1).bit_length(), len(self._sentences))
        length = -(-(longest + self._steps + 1) // self._lengths) * self._lengths
        return rows, min(length, self._decoder.capacity)

    def _draw_noise(self) -> None:
        fresh = self._fresh_noise.numpy()
        for row, sentence in enumerate(self._sentences):
            if sentence is not None:
                rng = sentence.wanted.rng
                sentence.noise_state = rng.bit_generator.state
                rng.standard_exponential(dtype=np.float32, out=fresh[row])
        self._noise.copy_(self._fresh_noise, non_blocking=True)  # read before the next: a look at the tokens waits

    def _step(self, rows: int, length: int, guided: bool) -> None:
        """Draw a token for each of the first rows from the logits that are there, read it, leave the next logits."""
        position, filled, drawn, running = (
            tensor[:rows] for tensor in (self._position, self._filled, self._drawn, self._running)
        )
        used, logits = self._used[:rows], self._logits[:rows]
        end = torch.zeros_like(used[:1])
        end[:, self._codes] = True
        allowed = logits.masked_fill(end & (drawn < FIRST_END_STEP)[:, None], -torch.inf)
        noise = self._noise[:rows].index_select(1, self._number)[:, 0]
        guides = self._guides if guided else None
        bias = None if guides is None else guides.bias(self._decoder.point(rows))
        token, likely = sample_rows(allowed, used, self._settings.first(rows), noise, bias)
        running &= (token != self._codes) & (likely != self._codes)
        self._out[:rows].index_copy_(1, self._number, torch.where(running, token, -1)[:, None])
        token = torch.where(running, token, 0)
        if guides is not None:
            for noted, found in zip((self._path, self._seen), guides.take(token), strict=True):
                noted[:rows].index_copy_(1, self._number, found[:, None])
        used.scatter_(1, token[:, None], True)
        logits.copy_(self._decoder.step(token, position, filled, length))
        for count in (position, filled, drawn):
            count += running
        running &= drawn < self._limit[:rows]
        self._number += 1

    def _take(self, row: int, out: list[int]) -> tuple[list[int], bool]:
        """New tokens of a row, and whether its sentence ended; its generator is left as if it had drawn alone."""
        sentence = self._sentences[row]
        assert sentence is not None
        new = [token for token in out if token >= 0]
        sentence.codes += new
        full = len(sentence.codes) >= sentence.wanted.limit
        done = full or len(new) < len(out)
        if done:
            self._sentences[row] = None
            self._filled[row] = 0
            rng, asked = sentence.wanted.rng, len(new) + (not full)
            rng.bit_generator.state = sentence.noise_state
            rng.standard_exponential((asked, self._codes + 1), np.float32)
        return new, done

    def _capture(self, rows: int, length: int, guided: bool) -> Any:
        """One step as a CUDA graph; the state is as it was before."""
        state = (
            self._number, self._out, self._used, self._logits, self._position, self._filled, self._drawn, self._running,
            *(self._guides.state if guided and self._guides is not None else ()),
        )  # fmt: skip
        kept = [tensor.clone() for tensor in state]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # kernels are chosen and loaded, which a graph cannot hold
            for _ in range(2):
                self._step(rows, length, guided)
                self._number.zero_()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            self._step(rows, length, guided)
        for tensor, value in zip(state, kept, strict=True):
            tensor.copy_(value)
        return graph
