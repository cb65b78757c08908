"""What the headers of sound files say of their length: wrong, unknown, or more than there is.

Programs that write to a pipe, or are killed, leave 0, a guess or nothing there; copies that broke off promise more.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

UNKNOWN = 0x7FFFF000  # sizes of 32 bits from here on stand for a length that was not known
LOST_SECONDS = 0.2  # less is the padding of codecs
_W64 = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"  # end of the names of chunks of W64
_AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}  # a sample by its encoding
_PCM = (1, 3, 6, 7, 0xFFFE)  # format tags of WAV with samples of one size
_HEAD = 1 << 16  # bytes in which the header of a file without large tags ends


def length_is_wrong(path: Path) -> bool:
    """True if the header of a WAV, RF64, AU or CAF file gives no length, or an end in mid-air.

    A length beyond the end of the file, such as 0xFFFFFFFF, needs no help: the samples end with the file.
    """
    end = path.stat().st_size
    with path.open("rb") as handle:
        head = handle.read(28)
        if head[:4] == b".snd":
            return head[8:12] == bytes(4) and end > int.from_bytes(head[4:8])
        if head[:4] == b"caff":
            return _caf_length_is_unknown(handle)
        start, size = next(_wav_data(handle, head, end), (end, 0))
        if size == 0 or start + size >= end:
            return size == 0 and start < end
        handle.seek(start + size + size % 2)
        following = handle.read(8)
        known = following[:4].isascii() and following[:4].decode("ascii", "replace").isprintable()
        return len(following) == 8 and not known


def _wav_data(handle: BinaryIO, head: bytes, end: int) -> Iterator[tuple[int, int]]:
    """Where the samples of a WAV file begin, and how many bytes they are by its header; mostly they come at once."""
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:12] != b"WAVE":
        return
    place, large = 12, 0
    while place < end:
        handle.seek(place)
        name, size = handle.read(4), int.from_bytes(handle.read(4), "little")
        place += 8
        if name == b"ds64":
            large = int.from_bytes(handle.read(16)[8:], "little")
        if name == b"data":
            size = large if size == 0xFFFFFFFF and head[:4] != b"RIFF" else size
            yield place, size
        place += size + size % 2


def _caf_length_is_unknown(handle: BinaryIO) -> bool:
    handle.seek(8)
    while len(header := handle.read(12)) == 12:
        size = int.from_bytes(header[4:], signed=True)
        if header[:4] == b"data":
            return size <= 4
        handle.seek(size, 1)
    return False


def lost_seconds(path: Path, rate: int, seconds: float, frames: float | None) -> str:
    """What a file lacks of what its header promises, in words; empty: nothing that is known of.

    Args:
        path: the sound file.
        rate: of it, in Hz.
        seconds: what could be read.
        frames: promised by a table that its decoder knows of; None: there is none.
    """
    with path.open("rb") as handle:
        head = handle.read(_HEAD)
        if head[:4] == b"OggS":
            return "" if _ends(handle) else "shortened: it breaks off, its last page is missing"
    promised = _promised(path, head, rate)
    if promised is None and frames is not None:
        promised = frames / rate
    if promised is None or seconds > promised * 0.99 - LOST_SECONDS:
        return ""
    return f"shortened: its header promises {promised:.1f} s, {seconds:.1f} s are there"


def _ends(handle: BinaryIO) -> bool:
    """True if the last page of an Ogg file says that it is the last one."""
    handle.seek(-min(_HEAD, handle.seek(0, 2)), 2)
    tail = handle.read()
    place = tail.rfind(b"OggS")
    return place < 0 or (len(tail) > place + 5 and bool(tail[place + 5] & 4))


def _promised(path: Path, head: bytes, rate: int) -> float | None:
    """Seconds by the header of a file of plain samples."""
    if head[:4] == b"RIFF":
        with path.open("rb") as handle:
            size = sum(size for _, size in _wav_data(handle, head, path.stat().st_size))
        form = head.find(b"fmt ") + 8
        tag, step = (int.from_bytes(head[form + at : form + at + 2], "little") for at in (0, 12))
        return size / (rate * step) if 0 < size < UNKNOWN and tag in _PCM and step else None
    if head[:4] == b"FORM" and (form := head.find(b"COMM")) > 0:
        return int.from_bytes(head[form + 10 : form + 14]) / rate
    if head[:4] == b".snd":
        size, step = int.from_bytes(head[8:12]), _AU_BYTES.get(int.from_bytes(head[12:16]), 0)
        step *= int.from_bytes(head[20:24])
        return size / (rate * step) if size < UNKNOWN and step else None
    if head[4:16] == b"\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00":
        form, data_at = head.find(b"fmt " + _W64) + 24, head.find(b"data" + _W64)
        size = int.from_bytes(head[data_at + 16 : data_at + 24], "little") - 24
        speed = int.from_bytes(head[form + 8 : form + 12], "little")
        return size / speed if data_at > 0 and size < 1 << 60 and speed else None
    return None


def has_length_table(path: Path) -> bool:
    """True if an MP3 file holds the number of its frames, which encoders write into the first one."""
    with path.open("rb") as handle:
        head = handle.read(10)
        if head[:3] == b"ID3":
            size = 0
            for byte in head[6:10]:
                size = size << 7 | byte & 0x7F
            handle.seek(10 + size)
        else:
            handle.seek(0)
        first = handle.read(4096)
    return any(mark in first for mark in (b"Xing", b"Info", b"VBRI"))
