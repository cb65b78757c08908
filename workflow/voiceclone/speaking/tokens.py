"""Semantic tokens of a sentence: the request, sampling, and decoding of one sentence or of several together.

Sampling applies repetition penalty, guidance, nucleus, temperature and top-k, in this order, in numpy. A token is the
argmax of p / e with e exponential noise, which is distributed as p (the Gumbel-max trick).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np

from voiceclone.backends.backend import BERT_CHANNELS, Backend, Floats, Tokens
from voiceclone.backends.bundle import Reference
from voiceclone.errors import ConfigError, Interrupted
from voiceclone.speaking.guidance import Guide, PointingBackend, softmax
from voiceclone.speaking.options import SpeechOptions
from voiceclone.speaking.result import Speech
from voiceclone.text.frontend import Phones

#: Semantic tokens per second.
TOKEN_RATE = 25
#: The decoder of GPT-SoVITS never ends a sentence in its first steps.
FIRST_END_STEP = 11
MIN_TEMPERATURE = 1e-5


@dataclass(frozen=True)
class Sentence:
    """A sentence, or another segment of text, to be spoken.

    Attributes:
        text: its phones.
        bert: its BERT features (1024, L), None for zeros.
        options: how it is spoken.
        reference: the clip to speak like.
    """

    text: Phones
    bert: Floats | None
    options: SpeechOptions
    reference: Reference

    @property
    def phones(self) -> Tokens:
        """Phones (L,)."""
        return self.text.ids

    @property
    def max_tokens(self) -> int:
        """Tokens at which it is cut."""
        return int(self.options.max_tokens_per_phone * len(self.phones)) + TOKEN_RATE

    @property
    def language(self) -> str:
        """The language of most of its phones."""
        counts: dict[str, int] = {}
        for segment in self.text.segments:
            counts[segment.language] = counts.get(segment.language, 0) + len(segment.symbols)
        return max(counts, key=lambda language: (counts[language], language))


@dataclass(frozen=True)
class TokenRequest:
    """Input of the text-to-semantic decoder for one attempt at a sentence.

    Attributes:
        phones: int64 (X,), of the prompt and of the text.
        bert: float32 (1024, X), None for zeros.
        prompt: int64 (P,).
        options: sampling.
        max_tokens: length limit.
        rng: source of the sampling noise.
        guide: follows the phones; None: no guidance.

    Raises:
        ValueError: options that were not :meth:`~voiceclone.speaking.options.SpeechOptions.filled`.
    """

    phones: Tokens
    bert: Floats | None
    prompt: Tokens
    options: SpeechOptions
    max_tokens: int
    rng: np.random.Generator
    guide: Guide | None = None

    def __post_init__(self) -> None:
        if self.options.filled(False) != self.options:
            raise ValueError("the voice's sampling is missing: fill the options first")


#: Speech in progress: yields one token request after another, expects the tokens, and returns the speech.
SpeechTask = Generator[TokenRequest, Tokens, Speech]


class DecodingLoop(Protocol):
    """Decodes several requests together; each has a row, which is free again after its end."""

    @property
    def free(self) -> int:
        """Rows without a request."""
        ...

    def clear(self) -> None:
        """Drop the requests in progress."""
        ...

    def add(self, request: TokenRequest) -> int:
        """Begin a request; returns its row."""
        ...

    def advance(self) -> dict[int, tuple[list[int], bool]]:
        """The next tokens of every row in use; true: they were its last ones."""
        ...


@runtime_checkable
class DecodingBackend(Protocol):
    """A backend with a decoding loop of its own, on the device that holds the weights.

    Attributes:
        decodes_alone: :func:`decode` uses the loop for a single request too.
    """

    decodes_alone: bool

    def loop(self, rows: int) -> DecodingLoop:
        """The decoding loop for ``rows`` requests at once."""
        ...


def token_request(sentence: Sentence, rng: np.random.Generator, backend: Backend | None = None) -> TokenRequest:
    """The request of a sentence's tokens, which follow those of the reference.

    Args:
        sentence: to be spoken.
        rng: source of the sampling noise.
        backend: guides decoding if its network has a pointer; None: no guidance.
    """
    reference = sentence.reference
    phones = np.concatenate([reference.phones, sentence.phones])
    guide = make_guide(backend, phones, len(reference.phones), sentence.options.guidance)
    return TokenRequest(
        phones,
        joined_features(reference, sentence.bert, len(sentence.phones)),
        reference.tokens,
        sentence.options,
        sentence.max_tokens,
        rng,
        guide,
    )


def make_guide(backend: Backend | None, phones: Tokens, first: int, weight: float | None) -> Guide | None:
    """The guide of an attempt, if the backend's network has a pointer and the weight is not 0; see :class:`Guide`.

    ``weight``: None for the default of the voice.
    """
    if not isinstance(backend, PointingBackend) or backend.emission is None or first >= len(phones):
        return None
    weight = backend.guidance if weight is None else weight
    return Guide(phones, first, backend.emission, weight) if weight else None


def joined_features(reference: Reference, bert: Floats | None, phones: int) -> Floats | None:
    """BERT features (1024, X) of the reference's phones and of a text's, zeros for those that have none.

    Args:
        reference: the clip.
        bert: of the text, (1024, L), None for zeros.
        phones: L.
    """
    if reference.bert is None and bert is None:
        return None
    parts = ((reference.bert, len(reference.phones)), (bert, phones))
    return np.concatenate(
        [np.zeros((BERT_CHANNELS, length), np.float32) if part is None else part for part, length in parts], axis=1
    )


def decode(backend: Backend, request: TokenRequest, end_token: int) -> Iterator[int]:
    """Yield tokens until the model ends or the limit is reached."""
    if isinstance(backend, DecodingBackend) and backend.decodes_alone:
        yield from _decode_in(backend.loop(1), request)
        return
    guide = request.guide
    logits, cache = backend.start(request.phones, request.bert, request.prompt)
    tokens = request.prompt.tolist()
    for index in range(request.max_tokens):
        if index:
            logits, cache = backend.step(tokens[-1], len(tokens) - 1, cache)
        if index < FIRST_END_STEP:
            logits = logits.copy()
            logits[end_token] = -np.inf
        bias = guide.bias(backend.point()) if guide and isinstance(backend, PointingBackend) else None
        token, best = sample(logits, np.asarray(tokens, np.int64), request.options, request.rng, bias)
        if end_token in (token, best):
            return
        tokens.append(token)
        if guide:
            guide.take(token)
        yield token


def _decode_in(loop: DecodingLoop, request: TokenRequest) -> Iterator[int]:
    loop.clear()
    row, ended = loop.add(request), False
    while not ended:
        tokens, ended = loop.advance()[row]
        yield from tokens


def sample(
    logits: Floats,
    previous: Tokens,
    options: SpeechOptions,
    rng: np.random.Generator,
    bias: Floats | None = None,
) -> tuple[int, int]:
    """Draw one token.

    Args:
        logits: float32 (V,); -inf excludes a token.
        previous: int64 (N,), all tokens so far, prompt included.
        options: sampling.
        rng: source of the noise.
        bias: float32 (V,), added after the penalty; None: no bias.

    Returns:
        The drawn token, and the most likely one after penalty and bias (either may end the utterance).
    """
    penalised = penalise(logits, previous, options.repetition_penalty)
    if bias is not None:
        penalised = penalised + bias
    weights = restricted_probabilities(penalised, options)
    noise = rng.standard_exponential(len(weights), np.float32)
    return categorical(weights, noise), int(penalised.argmax())


def penalise(logits: Floats, previous: Tokens, penalty: float) -> Floats:
    """Logits in which tokens of ``previous`` are made less likely, each once however often it occurred (CTRL, 2019)."""
    out = logits.astype(np.float32, copy=True)
    if penalty != 1.0 and len(previous):
        before = out[previous]  # a token that occurs more than once is given the same value each time
        out[previous] = np.where(before < 0, before * np.float32(penalty), before / np.float32(penalty))
    return out


def restricted_probabilities(penalised: Floats, options: SpeechOptions) -> Floats:
    """Nucleus, temperature, top-k and softmax of penalised logits (V,)."""
    logits = _nucleus(penalised, options.top_p) if options.top_p < 1.0 else penalised
    logits = logits / np.float32(max(options.temperature, MIN_TEMPERATURE))
    if 0 < options.top_k < len(logits):
        smallest = np.partition(logits, -options.top_k)[-options.top_k]
        logits = np.where(logits < smallest, np.float32(-np.inf), logits)
    return softmax(logits)


def categorical(weights: Floats, exponential: Floats) -> int:
    """Token of the largest weights / exponential noise."""
    return int((weights / np.maximum(exponential, np.finfo(np.float32).tiny)).argmax())


def _nucleus(logits: Floats, share: float) -> Floats:
    """Keep the most likely tokens up to a share of probability, at least one (Holtzman et al. 2019)."""
    order = np.argsort(-logits, kind="stable")
    cumulative = np.cumsum(softmax(logits)[order])
    dropped = cumulative > share
    dropped[0] = False
    out = logits.copy()
    out[order[dropped]] = -np.inf
    return out


Key = TypeVar("Key")


def decoding_loop(backend: Backend, rows: int) -> DecodingLoop:
    """The decoding loop of a backend for ``rows`` texts at once.

    Raises:
        ConfigError: the backend speaks one at a time.
    """
    if not isinstance(backend, DecodingBackend):
        raise ConfigError(
            "--batch-size: a bundle speaks one sentence at a time",
            "give the trained models instead (--models results/NAME/models), or speak parts of the table in several "
            "processes",
        )
    return backend.loop(rows)


@dataclass
class _Running(Generic[Key]):
    """A text whose tokens are decoded in a row."""

    key: Key
    task: SpeechTask
    codes: list[int] = field(default_factory=list)


def decode_together(
    loop: DecodingLoop, tasks: Iterable[tuple[Key, SpeechTask]]
) -> Iterator[tuple[Key, Speech | Exception]]:
    """Speak texts whose tokens are decoded together; as soon as one has ended, the next begins.

    Args:
        loop: decodes the tokens.
        tasks: texts by key, started one by one.

    Yields:
        The key of a text with its speech or its error, in the order of the ends.
    """
    loop.clear()
    waiting, rows = iter(tasks), dict[int, _Running[Key]]()
    while True:
        while loop.free and (entry := next(waiting, None)) is not None:
            yield from _resume(loop, rows, _Running(*entry), None)
        if not rows:
            return
        for row, (tokens, ended) in loop.advance().items():
            rows[row].codes += tokens
            if ended:
                text = rows.pop(row)
                codes, text.codes = np.array(text.codes, np.int64), []
                yield from _resume(loop, rows, text, codes)


def _resume(
    loop: DecodingLoop, rows: dict[int, _Running[Key]], text: _Running[Key], codes: Tokens | None
) -> Iterator[tuple[Key, Speech | Exception]]:
    """Give a text the tokens that it requested; yields its outcome if it has ended."""
    try:
        request = next(text.task) if codes is None else text.task.send(codes)
        rows[loop.add(request)] = text
    except StopIteration as end:
        yield text.key, end.value
    except Interrupted:
        raise
    except Exception as error:  # one text that cannot be spoken stops no other
        yield text.key, error
