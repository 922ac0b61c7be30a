"""Audio files and plain waves, float32 (S,) in [-1, 1]: reading, writing, resampling, trimming, filtering, levels."""

import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from .errors import BadFile, SpeechlibError
from .files import atomic

_BLOCK = 1 << 20  # samples decoded or filtered at once: a three-hour file never lies in memory twice
LEAST_RATE, MOST_RATE = 1_000, 1_000_000  # samples per second
_STREAMED = (
    0x7FFFF000  # sizes from here up are placeholders of programs that wrote a header before they knew the length
)


def read(path: str | Path, sample_rate: int | None = None, start: float = 0.0, duration: float | None = None):
    """(wave (S,) float32, sample_rate) of an audio file: the mean of its channels, resampled where a rate is given.

    `start` and `duration` (seconds) read a part of the file. WAV, FLAC, OGG, MP3, AIFF, NIST SPHERE and whatever else
    libsndfile decodes, at any rate and width. Raises BadFile for a file that is missing, empty, truncated, not audio,
    or holds NaN or infinite samples.
    """
    if not Path(path).is_file():
        raise BadFile(path, "does not exist" if not Path(path).exists() else "is a folder, not an audio file")
    if not Path(path).stat().st_size:
        raise BadFile(path, "is empty (0 bytes)")
    try:
        with soundfile.SoundFile(str(path)) as file:
            refuse_truncated(path, file)
            refuse_impossible(path, file)
            rate = file.samplerate
            first = min(round(start * rate), file.frames)
            wanted = file.frames - first if duration is None else min(round(duration * rate), file.frames - first)
            file.seek(first)
            wave = _decode(file, wanted, rate, sample_rate or rate)
            decoded = file.tell() - first
    except (soundfile.SoundFileError, RuntimeError) as error:
        reason = str(error).split(": ", 1)[-1].strip(" .")
        raise BadFile(path, f"cannot be decoded ({reason}): is it audio, and whole?") from None
    if not len(wave):
        raise BadFile(path, "holds no samples" + (f" after {start} s" if start else ""))
    if decoded < wanted:
        raise BadFile(path, f"is truncated: {decoded} samples could be decoded of {wanted}")
    if not np.isfinite(wave).all():
        raise BadFile(path, f"holds {np.count_nonzero(~np.isfinite(wave))} NaN or infinite samples of {len(wave)}")
    return wave, sample_rate or rate


def refuse_truncated(path, file) -> None:
    """libsndfile shortens a cut WAV, AIFF or AU without a word; its log of the header still tells."""
    found = re.search(r"(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", file.extra_info)
    if found and int(found[2]) < int(found[1]) < _STREAMED:
        raise BadFile(path, f"is truncated: {found[2]} bytes of samples where the header says {found[1]}")


def refuse_impossible(path, file) -> None:
    """A damaged header can promise more than memory holds. No codec says 65,536 samples with a byte, and nobody
    records speech at less than `LEAST_RATE`: at 1 Hz a file of a megabyte lasts six days."""
    size = Path(path).stat().st_size
    if file.frames > size << 16:
        raise BadFile(path, f"says that it holds {file.frames:,} samples in {size:,} bytes: its header is damaged")
    if not LEAST_RATE <= file.samplerate <= MOST_RATE:
        told = f"says that it has {file.samplerate:,} samples per second"
        raise BadFile(path, f"{told}, {LEAST_RATE:,} to {MOST_RATE:,} are possible: is its header damaged?")


def _decode(file, n_samples: int, rate: int, new_rate: int) -> np.ndarray:
    import soxr

    stream = soxr.ResampleStream(rate, new_rate, 1, dtype="float32") if new_rate != rate else None
    wave, end = np.empty(-(-n_samples * new_rate // rate) + 16, np.float32), 0
    for first in range(0, n_samples, _BLOCK):
        block = file.read(min(_BLOCK, n_samples - first), dtype="float32", always_2d=True).mean(axis=1)
        if stream is not None:
            block = stream.resample_chunk(block, last=first + _BLOCK >= n_samples)
        wave[end : end + len(block)] = block
        end += len(block)
    return wave[:end]


def write(path: str | Path, wave, sample_rate: int) -> None:
    """Write 16 bit audio; the suffix names the format. A file of that name is replaced only by a whole one."""
    suffix = Path(path).suffix[1:].upper()
    if suffix not in soundfile.available_formats():
        raise SpeechlibError(f"{path}: no audio format is called {suffix!r}; .wav and .flac are lossless")
    with atomic(path) as part:
        part.write_bytes(to_bytes(wave, sample_rate, suffix))  # libsndfile does not tell a full disk from other errors


def to_bytes(wave, sample_rate: int, format: str = "FLAC") -> bytes:
    """An audio file in memory, for players. The same wave gives the same bytes."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(np.asarray(wave), -1, 1), sample_rate, format=format)
    return buffer.getvalue()


def resample(wave, rate_in: int, rate_out: int) -> np.ndarray:
    """(S,) at rate_in -> (S * rate_out / rate_in,), by soxr at high quality."""
    import soxr

    wave = np.asarray(wave, np.float32)
    return wave if rate_in == rate_out else soxr.resample(wave, rate_in, rate_out)


def trim(wave, top_db: float = 20.0, frame_length: int = 2048, hop_length: int = 512) -> tuple[int, int]:
    """(start, stop) samples of what lies within `top_db` of the loudest frame; (0, 0) if nothing does.

    Equal to librosa.effects.trim. The energy of a frame is the sum of those of its hops, so a long file needs no
    memory. `frame_length` must be an even multiple of `hop_length`.
    """
    wave = np.asarray(wave, np.float32)
    n_whole, half = len(wave) // hop_length, frame_length // hop_length // 2
    rest = wave[n_whole * hop_length :]
    hops = np.zeros(n_whole + 1)
    pieces = wave[: n_whole * hop_length].reshape(n_whole, hop_length)
    np.einsum("ij,ij->i", pieces, pieces, dtype=np.float64, out=hops[:-1])
    hops[-1] = np.square(rest, dtype=np.float64).sum()
    sums = np.concatenate([np.zeros(half + 1), np.cumsum(hops), np.full(half - 1, hops.sum())])
    power = np.maximum(sums[2 * half :] - sums[: -2 * half], 0) / frame_length
    loudness = 10 * np.log10(np.maximum(power, 1e-10))
    loud = np.flatnonzero(loudness > loudness.max() - top_db)
    if not len(loud) or power.max() <= 0:
        return 0, 0
    return int(loud[0]) * hop_length, min(len(wave), (int(loud[-1]) + 1) * hop_length)


def high_pass(wave, sample_rate: int, cutoff: float, n_taps: int = 255, out: np.ndarray | None = None) -> np.ndarray:
    """(S,) -> (S,) without what lies below `cutoff` hertz: a windowed-sinc filter, its delay taken off.

    At 16 kHz and 70 Hz it takes off hum and the rumble of a room: 19 dB at 0, 6 dB at 70 Hz, a quarter at 150 Hz.
    Zeros stand before the beginning and behind the end. `n_taps` must be odd. `out` (S,) float32 takes the result; it
    may be the wave itself.
    """
    from scipy.signal import firwin, oaconvolve

    if not 0 < cutoff < sample_rate / 2 or n_taps % 2 == 0:
        raise SpeechlibError(
            f"a high-pass of {n_taps} taps at {cutoff} Hz: odd, and between 0 and {sample_rate / 2} Hz"
        )
    taps, margin = firwin(n_taps, cutoff, pass_zero=False, fs=sample_rate), n_taps // 2
    out, before = np.empty(len(wave), np.float32) if out is None else out, np.zeros(0)
    for first in range(0, len(wave), _BLOCK):
        last = min(first + _BLOCK, len(wave))
        piece = np.concatenate([before, wave[first : last + margin]], dtype=np.float64)
        low, before = len(before), np.array(wave[last - margin : last], np.float64)  # before it is written over
        out[first:last] = oaconvolve(piece, taps, mode="same")[low : low + last - first]
    return out


def peak_normalise(wave) -> np.ndarray:
    """The wave with its largest magnitude at 1; silence stays silence."""
    wave = np.asarray(wave, np.float32)
    peak = np.abs(wave).max(initial=0)
    return wave / peak if peak else wave


def match_loudness(waves: Sequence) -> list[np.ndarray]:
    """The waves at one common RMS, as loud as they go without any of them clipping. Silence stays silence."""
    waves = [np.asarray(wave, np.float32) for wave in waves]
    rms = [float(np.sqrt(np.mean(np.square(wave, dtype=np.float64)))) if wave.size else 0.0 for wave in waves]
    crest = [np.abs(wave).max() / level for wave, level in zip(waves, rms) if level]
    common = 1 / max(crest, default=1.0)
    return [wave * np.float32(common / level) if level else wave for wave, level in zip(waves, rms)]
