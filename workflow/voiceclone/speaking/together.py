"""Several texts at once: the tokens of one piece of each are drawn together, the sound is made one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from voiceclone.backends.backend import Backend, Tokens
from voiceclone.errors import ConfigError, Interrupted
from voiceclone.speaking.result import Speech
from voiceclone.speaking.synthesizer import Course, Synthesizer
from voiceclone.speaking.tokens import DrawingBackend, Loop

Key = TypeVar("Key")


def loop_of(backend: Backend, texts: int) -> Loop:
    """What draws the tokens of so many texts together.

    Raises:
        ConfigError: the backend speaks one at a time.
    """
    if not isinstance(backend, DrawingBackend):
        raise ConfigError(
            "--batch-size: a bundle speaks one sentence at a time",
            "give the trained models instead (--models results/NAME/models), or speak parts of the table in several "
            "processes",
        )
    return backend.loop(texts)


def speak_one_by_one(
    synthesizer: Synthesizer, courses: Iterable[tuple[Key, Course]]
) -> Iterator[tuple[Key, Speech | Exception]]:
    """:func:`speak_together` for any backend, one text after the other."""
    for key, course in courses:
        try:
            yield key, synthesizer.finish(course)
        except Interrupted:
            raise
        except Exception as error:
            yield key, error


@dataclass
class _Underway(Generic[Key]):
    """A text whose tokens are drawn in a row."""

    key: Key
    course: Course
    codes: list[int] = field(default_factory=list)


def speak_together(loop: Loop, courses: Iterable[tuple[Key, Course]]) -> Iterator[tuple[Key, Speech | Exception]]:
    """Speak texts; as soon as one has ended, the next begins.

    Args:
        loop: draws tokens.
        courses: texts by what tells them apart, taken up one by one.

    Yields:
        What was spoken, or why it was not, in the order of the ends.
    """
    loop.clear()
    waiting, rows = iter(courses), dict[int, _Underway[Key]]()
    while True:
        while loop.free and (entry := next(waiting, None)) is not None:
            yield from _go_on(loop, rows, _Underway(*entry), None)
        if not rows:
            return
        for row, (tokens, ended) in loop.advance().items():
            rows[row].codes += tokens
            if ended:
                text = rows.pop(row)
                codes, text.codes = np.array(text.codes, np.int64), []
                yield from _go_on(loop, rows, text, codes)


def _go_on(
    loop: Loop, rows: dict[int, _Underway[Key]], text: _Underway[Key], codes: Tokens | None
) -> Iterator[tuple[Key, Speech | Exception]]:
    """Give a text the tokens that it asked for: it asks for others, or has ended, well or not."""
    try:
        wanted = next(text.course) if codes is None else text.course.send(codes)
        rows[loop.add(wanted)] = text
    except StopIteration as end:
        yield text.key, end.value
    except Interrupted:
        raise
    except Exception as error:  # one text that cannot be spoken stops no other
        yield text.key, error
