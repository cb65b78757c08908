"""The interface of a server: as OpenAI's own client asks, and what it answers to anything else."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest
import soundfile
from tests.serving.conftest import TEXT, Running
from tests.support.toy_voice import toy_voice

from voiceclone.marks.labels import voice_id
from voiceclone.marks.watermark import find_marks
from voiceclone.serving.encoding import MEDIA_TYPES, PCM_RATE
from voiceclone.serving.worker import SOUND, Order, _spoken
from voiceclone.sound.io import read_comment, read_mono
from voiceclone.speaking.options import SpeechOptions
from voiceclone.speaking.voices import Voice

LONGER = "Good morning to all of you. The bakery opens at seven."


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("form", MEDIA_TYPES)
def test_openai_client_gets_a_sound_file(client: openai.OpenAI, server: Running, tmp_path: Path, form: str) -> None:
    answer = client.audio.speech.create(model="tts-1", voice="anna", input=LONGER, response_format=form)  # type: ignore[arg-type]
    assert answer.response.headers["content-type"] == MEDIA_TYPES[form]
    mark = voice_id(server.catalogue.all()[0].number)
    assert answer.response.headers["x-ai-notice"] == f"AI-generated speech; voice {mark}"
    file = tmp_path / f"said.{form}"
    answer.write_to_file(file)
    if form == "pcm":
        samples, rate = np.frombuffer(file.read_bytes(), "<i2").astype(np.float32) / 32768, PCM_RATE
    else:
        samples, rate = read_mono(file)
        assert read_comment(file).startswith(f"AI-generated speech; voice {mark}")
    assert len(samples) > rate
    assert [found.voice for found in find_marks(samples, rate) if found.found][:1] in ([int(mark, 16)], [])


def test_formats_say_the_same(server: Running) -> None:
    wav, _ = soundfile.read(io.BytesIO(server.speak(response_format="wav").content))
    flac, _ = soundfile.read(io.BytesIO(server.speak(response_format="flac").content))
    np.testing.assert_allclose(wav, flac, atol=2**-14)  # they round differently


def test_openai_client_streams_while_it_is_computed(client: openai.OpenAI, server: Running) -> None:
    whole = server.speak(LONGER, voice="anna", response_format="wav").content
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="anna", input=LONGER, response_format="wav"
    ) as answer:
        parts = list(answer.iter_bytes())
    assert len(parts) > 2 and b"".join(parts) == whole


def test_events_are_those_of_openai(client: openai.OpenAI, server: Running) -> None:
    whole = server.speak(LONGER, response_format="wav").content
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="anna", input=LONGER, response_format="wav", stream_format="sse"
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line]
    assert [event["type"] for event in events[-2:]] == ["speech.audio.delta", "speech.audio.done"]
    assert b"".join(base64.b64decode(event["audio"]) for event in events[:-1]) == whole


@pytest.mark.parametrize("how", [{"notice": "tone"}, {"attempts": 2}])
def test_words_come_with_their_times(server: Running, how: dict[str, object]) -> None:
    wanted = {"response_format": "pcm", "stream_format": "sse", "pause_seconds": 0.5}
    plain, answer = (server.speak(LONGER, **wanted, **how, timestamps=timed).text for timed in (False, True))
    events = [json.loads(line.removeprefix("data: ")) for line in answer.split("\n\n") if line]
    sound = b"".join(base64.b64decode(event.get("audio", "")) for event in events)
    told = [json.loads(line.removeprefix("data: ")) for line in plain.split("\n\n") if line]
    assert sound == b"".join(base64.b64decode(event.get("audio", "")) for event in told)
    words = [word for event in events for word in event.get("words", [])]
    assert [word["word"] for word in words] == LONGER.split()
    times = [time for word in words for time in (word["start"], word["end"])]
    lead = 1.2 if "notice" in how else 0.0
    assert times == sorted(times) and lead <= times[0] and times[-1] <= len(sound) / 2 / PCM_RATE
    assert len([event for event in events if "words" in event]) >= 2  # not all at the end
    assert "sse" in server.speak(timestamps=True).json()["error"]["message"]


def test_openai_client_lists_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["voiceclone"]
    assert client.models.retrieve("voiceclone").owned_by == "voiceclone"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_openai_client_understands_refusals(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="yours: anna"):
        client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT)
    with pytest.raises(openai.BadRequestError, match="nothing in it can be spoken"):
        client.audio.speech.create(model="tts-1", voice="anna", input="... !")
    with pytest.raises(openai.BadRequestError, match="response_format"):
        client.audio.speech.create(model="tts-1", voice="anna", input=TEXT, response_format="aac")


def test_instructions_are_ignored_with_a_warning(server: Running) -> None:
    answer = server.speak(voice="anna", instructions="shout", response_format="wav")
    assert answer.headers["x-warning"].startswith("instructions: ignored")
    assert answer.content == server.speak(voice="anna", response_format="wav").content


def test_speed_pauses_seeds_and_attempts_count(server: Running) -> None:
    def length(**more: object) -> int:
        return len(server.speak(response_format="pcm", **more).content)

    plain = length(attempts=2)
    assert length(attempts=2, speed=0.5) == pytest.approx(2 * plain, rel=0.02)
    assert server.speak(seed=1, response_format="pcm").content != server.speak(seed=2, response_format="pcm").content
    two = {"text": "Yes. No.", "attempts": 2}
    assert length(**two, pause_seconds=2.0) - length(**two, pause_seconds=0.0) == pytest.approx(96_000, abs=2)


def test_notices_are_heard(server: Running) -> None:
    plain = server.speak(response_format="pcm").content
    assert len(server.speak(response_format="pcm", notice="tone").content) > len(plain) + 24_000
    assert len(server.speak(response_format="pcm", notice="spoken").content) > len(plain)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"speed": 9}, "speed"),
        ({"temperature": -1}, "temperature"),
        ({"language": "../en"}, "language"),
        ({"split": "no such method"}, "split"),
        ({"pitch": 99}, "pitch"),
        ({"input": ""}, "input"),
        ({"input": 7}, "input"),
        ({"input": "a" * 5000}, "longer than 4096 characters"),
        ({"input": "\ud800"}, ""),
        ({"seed": -1}, "seed"),
    ],
)
def test_values_out_of_range_are_named(server: Running, more: dict[str, object], told: str) -> None:
    body = json.dumps({"input": TEXT, "voice": "anna", **more})
    answer = server.client.post("/v1/audio/speech", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert told in answer.json()["error"]["message"]


def test_voices_health_metrics_and_openapi(server: Running) -> None:
    (voice,) = server.client.get("/v1/voices").json()["data"]
    assert voice["id"] == "anna" and voice["available"] and voice["licence"] == "none given"
    assert server.client.get("/health").json() == {"status": "ok"}
    server.speak()
    lines = server.client.get("/metrics").text.splitlines()
    spoken = next(line for line in lines if line.startswith('voiceclone_requests_total{outcome="spoken",voice="anna"}'))
    assert float(spoken.split()[-1]) >= 1
    described = server.client.get("/openapi.json").json()
    asked = described["components"]["schemas"]["SpeechRequest"]["properties"]
    assert {"model", "voice", "input", "response_format", "speed", "stream_format", "pause_seconds"} <= set(asked)
    assert "/v1/audio/speech" in described["paths"]


def test_a_voice_speaks_in_its_styles(server: Running) -> None:
    (voice,) = server.client.get("/v1/voices").json()["data"]
    assert voice["styles"] == ["calm", "loud"]
    calm, loud = (server.speak(response_format="wav", style=style).content for style in ("calm", "loud"))
    assert len(calm) > 44 and calm != loud
    answer = server.speak(style="sad")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "style 'sad': not there; this voice has calm, loud"


@pytest.mark.parametrize(("scope", "seconds"), [("private", 0.0), ("serve", 1.28)])
def test_consent_is_in_the_tags_and_its_scope_decides_the_notice(tmp_path: Path, scope: str, seconds: float) -> None:
    consent, voice = "0123456789abcdef" * 4, toy_voice()
    rights = {"consent_sha256": consent, "consent": {"scope": scope}}
    options = SpeechOptions(attempts=2)  # sentence by sentence
    lengths = []
    for stated, name in (({}, "plain.wav"), (rights, "stated.wav")):
        order = Order(tmp_path, "", TEXT, "en", 3, options, form="wav")
        answers = [answer for kind, answer in _spoken(Voice(voice, None, stated), order) if kind == SOUND]  # type: ignore[arg-type]
        (tmp_path / name).write_bytes(b"".join(data for data, _ in answers))
        lengths.append(answers[-1][1])
    assert lengths[1] - lengths[0] == pytest.approx(seconds, abs=0.01)
    assert f"; consent {consent[:16]}; " in read_comment(tmp_path / "stated.wav")
    assert "consent" not in read_comment(tmp_path / "plain.wav")
