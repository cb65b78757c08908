"""Speak many sentences of all lengths with a bundle: ``python soak.py BUNDLE COUNT``; prints what memory it takes.

One line of JSON: ``megabytes`` before, and after each tenth of the sentences, and the ``seconds`` of speech. A process
of its own, so that nothing else takes or returns memory meanwhile.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from voiceclone.speaking.synthesizer import Synthesizer

WORDS = ("the", "river", "carries", "small", "boats", "past", "old", "stone", "houses", "while", "children", "wave")
MOST_WORDS = 14
WARM_UP = 12
TENTHS = 10
TOKENS_PER_PHONE = 2.5  # at the most, as people speak: a voice with random weights never ends by itself


def resident() -> float:
    """Megabytes of this process in memory."""
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024


def main(bundle: Path, count: int) -> None:
    synthesizer = Synthesizer.from_bundle(bundle, threads=1)
    rng = random.Random(0)

    def speak(words: int) -> float:
        text = " ".join(rng.choices(WORDS, k=words)) + "."
        return synthesizer.say(text, seed=0, max_tokens_per_phone=TOKENS_PER_PHONE, attempts=1).seconds

    for words in (2 * MOST_WORDS, *(rng.randint(1, MOST_WORDS) for _ in range(WARM_UP - 1))):
        speak(words)  # the first is longer than all that follow
    seconds, megabytes = 0.0, [resident()]
    for index in range(count):
        seconds += speak(rng.randint(1, MOST_WORDS))
        if (index + 1) * TENTHS // count > index * TENTHS // count:
            megabytes.append(resident())
    print(json.dumps({"megabytes": megabytes, "seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
