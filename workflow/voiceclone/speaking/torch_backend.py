"""Runs the trained modules on the CPU or on a GPU, for one sentence or for several at once.

Each sentence has a row, and a row that ends is free for the next sentence. A step samples a token for every row and
reads it, on the device; the CPU fetches the tokens after every few steps. Sampling is that of
:mod:`voiceclone.speaking.tokens`; every value is a tensor and every shape is fixed, so that on CUDA a step is one
captured graph for each number of rows and each length.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from voiceclone.backends.backend import Floats, Tokens
from voiceclone.backends.waveform import Frames, Source
from voiceclone.backends.weights import known_emission
from voiceclone.models.gpt import TextToSemantic
from voiceclone.models.sovits import SoVITS
from voiceclone.models.vocoder import SourceFilterDecoder
from voiceclone.speaking.guidance import END_SHARE, END_TOKENS, GUIDANCE, MOVES, UNHEARD, UNSEEN, UNSPOKEN, Guide
from voiceclone.speaking.options import SpeechOptions
from voiceclone.speaking.tokens import FIRST_END_STEP, MIN_TEMPERATURE, TokenRequest
from voiceclone.text_to_semantic.torch_static import StaticDecoder, choose_precision


@dataclass(frozen=True)
class RowSettings:
    """Sampling settings of each row: tensors (R, 1)."""

    top_k: Tensor
    top_p: Tensor
    temperature: Tensor
    penalty: Tensor

    @classmethod
    def empty(cls, rows: int, device: torch.device) -> RowSettings:
        """For a number of rows; each is set before it is used."""
        ones = torch.ones(rows, 1, device=device)
        return cls(ones.long(), ones.clone(), ones.clone(), ones.clone())

    def set(self, row: int, options: SpeechOptions, size: int) -> None:
        """Settings of a row; ``size``: number of tokens, all of which are kept where ``top_k`` is 0."""
        kept = options.top_k if 0 < options.top_k < size else size
        temperature = max(options.temperature, MIN_TEMPERATURE)
        values = (kept, options.top_p, temperature, options.repetition_penalty)
        for tensor, value in zip((self.top_k, self.top_p, self.temperature, self.penalty), values, strict=True):
            tensor[row] = value

    def first(self, rows: int) -> RowSettings:
        """Those of the first rows; views."""
        return RowSettings(self.top_k[:rows], self.top_p[:rows], self.temperature[:rows], self.penalty[:rows])


def sample_rows(
    logits: Tensor, used: Tensor, settings: RowSettings, exponential: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Draw one token for each row; see :func:`voiceclone.speaking.tokens.sample`.

    Args:
        logits: float32 (R, V); -inf excludes a token.
        used: bool (R, V), tokens that occurred before.
        settings: of each row.
        exponential: exponential noise (R, V).
        bias: float32 (R, V), added after the penalty; None: no bias.

    Returns:
        The drawn tokens (R,), and the most likely ones after the penalty (R,).
    """
    penalty = settings.penalty
    penalised = torch.where(used, torch.where(logits < 0, logits * penalty, logits / penalty), logits)
    if bias is not None:
        penalised = penalised + bias
    ordered, tokens = penalised.sort(dim=1, descending=True, stable=True)
    beyond = (ordered.softmax(dim=1).cumsum(dim=1) > settings.top_p) & (settings.top_p < 1)
    beyond[:, 0] = False
    ordered = ordered.masked_fill(beyond, -torch.inf) / settings.temperature
    smallest = ordered.gather(1, settings.top_k - 1)
    weights = ordered.masked_fill(ordered < smallest, -torch.inf).softmax(dim=1)
    noise = exponential.gather(1, tokens).clamp_min(torch.finfo(torch.float32).tiny)
    drawn = tokens.gather(1, (weights / noise).argmax(dim=1, keepdim=True))
    return drawn[:, 0], tokens[:, 0]


class RowGuides:
    """:class:`voiceclone.speaking.guidance.Guide` for many sentences at once, the same sums in tensors.

    Args:
        rows: maximum number of sentences.
        phones: maximum number of phones of a sentence, the prompt's included.
        emission: float32 (all phones, codes).
    """

    def __init__(self, rows: int, phones: int, emission: Tensor) -> None:
        device, codes = emission.device, emission.shape[1]
        self._emission = emission
        self._tables = torch.zeros(rows, phones, codes, device=device)
        self._weights, self._waited = torch.zeros(2, rows, 1, device=device)
        self._inside = torch.zeros(rows, phones, dtype=torch.bool, device=device)
        self._ends = torch.zeros(rows, phones, 2, dtype=torch.bool, device=device)  # the last two, and the last alone
        self.filter = torch.zeros(rows, phones, device=device)
        self.pointed = torch.zeros(rows, dtype=torch.int64, device=device)
        self.guided = torch.zeros(rows, 1, dtype=torch.bool, device=device)

    @property
    def state(self) -> tuple[Tensor, ...]:
        """Tensors that a step changes."""
        return self.filter, self.pointed, self._waited

    @property
    def phones(self) -> int:
        """Phones that there is room for."""
        return self.filter.shape[1]

    def set(self, row: int, guide: Guide | None, phones: Tensor) -> None:
        """Begin a sentence with phones int64 (X,) in a row; None: it is not guided."""
        self.guided[row] = guide is not None
        if guide is None:
            return
        first, end = guide.first, len(phones)
        self._tables[row, :end] = self._emission[phones]
        self._weights[row], self._waited[row] = guide.weight, 0
        for flags in (self._inside, self._ends, self.filter):
            flags[row] = 0
        self._inside[row, first:end] = True
        self._ends[row, max(first, end - 2) : end, 0] = self._ends[row, end - 1, 1] = True
        self.filter[row, first] = 1

    def bias(self, scores: Tensor) -> Tensor:
        """Bias of the logits of the next token of each of the first rows (R, codes + 1), from scores (R, X)."""
        rows = len(scores)
        inside, filtered = self._inside[:rows], self.filter[:rows]
        pointed = (
            scores.masked_fill(~inside, -torch.inf).softmax(1).nan_to_num()
        )  # rows without a sentence have no phone
        moved = MOVES[0] * filtered
        moved[:, 1:] += MOVES[1] * filtered[:, :-1]
        moved[:, 2:] += MOVES[2] * filtered[:, :-2]
        filtered.copy_(_normalised(moved * (pointed + UNSEEN) * inside))
        self.pointed[:rows] = pointed.argmax(1)
        heard = torch.bmm(filtered[:, None], self._tables[:rows])[:, 0]
        bias = self._weights[:rows] * torch.log(heard + UNHEARD)
        ends = self._ends[:rows]
        standing = ends[:, :, 1].gather(1, filtered.argmax(1, keepdim=True))
        self._waited[:rows] = torch.where(standing, self._waited[:rows] + 1, 0.0)
        bias = bias.masked_fill(self._waited[:rows] > END_TOKENS, -torch.inf)
        stop = torch.zeros_like(bias[:, :1]).masked_fill(
            (filtered * ends[:, :, 0]).sum(1, keepdim=True) < END_SHARE, -torch.inf
        )
        return torch.where(self.guided[:rows], torch.cat([bias, stop], dim=1), 0.0)

    def take(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Update the filters by the tokens (R,) that were drawn; returns their phones (R,), by filter and by pointer,
        counted from the prompt's."""
        rows = len(tokens)
        known = self._tables[:rows].gather(2, tokens[:, None, None].expand(-1, self.phones, 1))[:, :, 0]
        filtered = self.filter[:rows]
        filtered.copy_(_normalised(filtered * (known.sqrt() + UNSPOKEN)))
        return filtered.argmax(1), self.pointed[:rows]


def _normalised(weights: Tensor) -> Tensor:
    """Rows that add up to 1; empty ones stay so."""
    return weights / weights.sum(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)


#: Steps between two fetches of the tokens: a fetch waits for the device, surplus steps are discarded.
STEPS_ON_CPU, STEPS_ON_CUDA = 1, 5
#: Lengths of the attention are rounded up to this: each has its own graph on CUDA.
LENGTHS_ON_CPU, LENGTHS_ON_CUDA = 32, 256


@dataclass
class _Sentence:
    """A sentence in a row, and the state of its noise before the newest steps."""

    request: TokenRequest
    filled: int
    codes: list[int] = field(default_factory=list)
    noise_state: Any = None


class TokenLoop:
    """Speaks sentences in the rows of a decoder.

    The tokens of a sentence do not depend on what is in the other rows, but for rounding: its noise is that of its own
    generator, in the order in which :func:`voiceclone.speaking.tokens.sample` asks for it.

    Args:
        decoder: text to semantic, for this loop alone.
        steps: between two fetches of the tokens; None: the default of the device.
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
    def add(self, request: TokenRequest) -> int:
        """Read a sentence into a free row; returns the row."""
        row = self._sentences.index(None)
        device, filled = self._decoder.device, len(request.phones) + len(request.prompt)
        needed = filled + request.max_tokens + self._steps
        if needed > self._decoder.kv_cache.capacity:
            self._decoder.kv_cache.reserve(needed)
            if self._graphs is not None:
                self._graphs.clear()  # they write to the buffers that were
        phones, prompt = (torch.from_numpy(part)[None].to(device) for part in (request.phones, request.prompt))
        bert = None if request.bert is None else torch.from_numpy(request.bert)[None].to(device)
        self._logits[row] = self._decoder.prefill(phones, bert, prompt, row)
        self._settings.set(row, request.options, self._codes + 1)
        self._guide(row, request, phones[0])
        self._used[row] = False
        self._used[row, prompt[0]] = True
        state = (self._position, self._filled, self._drawn, self._limit)
        for tensor, value in zip(state, (len(request.prompt), filled, 0, request.max_tokens), strict=True):
            tensor[row] = value
        self._running[row] = request.max_tokens > 0
        self._sentences[row] = _Sentence(request, filled)
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

    def _guide(self, row: int, request: TokenRequest, phones: torch.Tensor) -> None:
        """Set or clear the guide of a row; for more phones the buffers of all rows are allocated again."""
        before = self._guides
        if before is None and request.guide is None:
            return
        if before is None or self._decoder.phone_room > before.phones:
            self._guides = RowGuides(self._decoder.rows, self._decoder.phone_room, self._decoder.emission)
            for index, sentence in enumerate(self._sentences):
                if before is not None and sentence is not None and index != row:
                    read = torch.from_numpy(sentence.request.phones).to(phones.device)
                    self._guides.set(index, sentence.request.guide, read)
                    for old, new in zip(before.state, self._guides.state, strict=True):
                        new[index, ..., : old.shape[-1]] = old[index]
            if self._graphs is not None:
                self._graphs.clear()  # they write to the buffers that were
        assert self._guides is not None
        self._guides.set(row, request.guide, phones)

    def _guided(self) -> bool:
        """True: a sentence is guided."""
        return any(sentence is not None and sentence.request.guide is not None for sentence in self._sentences)

    def _note(self, out: list[list[int]], path: list[list[int]], seen: list[list[int]]) -> None:
        """Record the phones of the tokens in the guides."""
        for row, sentence in enumerate(self._sentences):
            if sentence is not None and (guide := sentence.request.guide) is not None:
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
        return rows, min(length, self._decoder.kv_cache.capacity)

    def _draw_noise(self) -> None:
        fresh = self._fresh_noise.numpy()
        for row, sentence in enumerate(self._sentences):
            if sentence is not None:
                rng = sentence.request.rng
                sentence.noise_state = rng.bit_generator.state
                rng.standard_exponential(dtype=np.float32, out=fresh[row])
        self._noise.copy_(self._fresh_noise, non_blocking=True)  # read before the next: a look at the tokens waits

    def _step(self, rows: int, length: int, guided: bool) -> None:
        """Sample a token for each of the first rows from the current logits, read it, store the next logits."""
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
        full = len(sentence.codes) >= sentence.request.max_tokens
        done = full or len(new) < len(out)
        if done:
            self._sentences[row] = None
            self._filled[row] = 0
            rng, asked = sentence.request.rng, len(new) + (not full)
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


class TorchBackend:
    """See :class:`voiceclone.backends.backend.Backend`; the cache of the sentence before is lost.

    Args:
        gpt: in evaluation mode, on the device.
        sovits: in evaluation mode, on the device, weight norm removed; None: it only makes tokens.
        device: where they are.
        precision: ``fp32``, or on CUDA ``fp16`` or ``bf16``: weights and cache of the text-to-semantic model, and
            where it is safe the sums of the decoder.
        compiled: compile the layers of the text-to-semantic model with torch.compile.

    Attributes:
        decodes_alone: a single sentence is decoded by :attr:`loop` too, not from logits on the CPU.
        emission, guidance: see :class:`voiceclone.speaking.guidance.PointingBackend`.
    """

    name = "torch"

    def __init__(
        self,
        gpt: TextToSemantic,
        sovits: SoVITS | None,
        device: str = "cpu",
        precision: str = "fp32",
        compiled: bool = False,
    ) -> None:
        self._gpt, self._sovits, self._device, self._compiled = gpt, sovits, device, compiled
        self._dtype = choose_precision(precision, device)
        self._decoder = self._decoder_of(1)
        self.emission = known_emission(_array(gpt.pointer.emission)) if gpt.config.pointer_layer else None
        self.guidance = 0.0 if gpt.config.pointer_added else GUIDANCE
        self._phones = 0
        self.decodes_alone = compiled or device.startswith("cuda")
        self.pitched = sovits is not None and isinstance(sovits.dec, SourceFilterDecoder)
        self._loops: dict[int, TokenLoop] = {}

    def _decoder_of(self, rows: int) -> StaticDecoder:
        return StaticDecoder(self._gpt, rows, self._dtype, self._compiled)

    def loop(self, rows: int) -> TokenLoop:
        """The decoding loop for ``rows`` sentences at once; the same object for the same number."""
        if rows not in self._loops:
            self._loops[rows] = TokenLoop(self._decoder_of(rows))
        return self._loops[rows]

    @torch.inference_mode()
    def start(self, phones: Tokens, bert: Floats | None, prompt: Tokens) -> tuple[Floats, int]:
        """See :class:`Backend`."""
        features = None if bert is None else self._tensor(bert[None])
        self._phones = len(phones)
        logits = self._decoder.prefill(self._tensor(phones[None]), features, self._tensor(prompt[None]))
        return logits.cpu().numpy(), len(phones) + len(prompt)

    @torch.inference_mode()
    def step(self, token: int, position: int, cache: int) -> tuple[Floats, int]:
        """See :class:`Backend`; ``cache`` is the number of positions that are filled."""
        return self._decoder.step_one(token, position, cache).cpu().numpy(), cache + 1

    @torch.inference_mode()
    def point(self) -> Floats:
        """See :class:`voiceclone.speaking.guidance.PointingBackend`."""
        return _array(self._decoder.point()[0, : self._phones])

    @torch.inference_mode()
    def read(self, phones: Tokens, bert: Floats | None, tokens: Tokens) -> Floats:
        """Logits (V + 1,) after phones (X,) and semantic tokens (N,), computed without a cache."""
        features = None if bert is None else self._tensor(bert[None])
        logits, _ = self._gpt.prefill(self._tensor(phones[None]), self._tensor(tokens[None]), features)
        return _array(logits[0])

    def decode(
        self, codes: Tokens, phones: Tokens, style: Floats, noise: Floats, source: Source | None = None
    ) -> Floats:
        """See :class:`Backend`."""
        return self.vocode(self.latent(codes, phones, style, noise), style, source)

    def latent(self, codes: Tokens, phones: Tokens, style: Floats, noise: Floats) -> Floats:
        """See :class:`Backend`."""
        assert self._sovits is not None
        frames = noise.shape[2] if noise.shape[2] != 2 * len(codes) else None
        text, speech = self._tensor(phones[None]), self._tensor(codes[None, None])
        with torch.inference_mode(), self._half():
            return _array(self._sovits.latent(speech, text, self._tensor(style), self._tensor(noise), frames))

    def vocode(self, latent: Floats, style: Floats, source: Source | None = None) -> Floats:
        """See :class:`Backend`."""
        assert self._sovits is not None
        if self.pitched:
            return (source or Source()).wave(self.frames(latent, style), self._sovits.config.sample_rate)
        with torch.inference_mode(), self._half():
            return _array(self._sovits.vocode(self._tensor(latent), self._tensor(style))).reshape(-1)

    def frames(self, latent: Floats, style: Floats) -> Frames:
        """See :class:`Backend`."""
        assert self._sovits is not None and isinstance(self._sovits.dec, SourceFilterDecoder)
        with torch.inference_mode(), self._half():
            found = self._sovits.dec.frames(self._tensor(latent), self._tensor(style))
        return Frames(*(_array(tensor[0]) for tensor in found))

    def _half(self) -> AbstractContextManager[Any]:
        """Convolutions and products in the precision, norms and exponentials in float32."""
        return nullcontext() if self._dtype == torch.float32 else torch.autocast("cuda", self._dtype)

    def _tensor(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


def _array(tensor: Tensor) -> Floats:
    return np.asarray(tensor.float().cpu().numpy())
