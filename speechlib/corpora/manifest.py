"""Any lhotse manifest on disk: what its 96 `prepare` recipes write, and what you made yourself.

`root` is a file (cuts.jsonl.gz, recordings.jsonl.gz, ...) or a folder of them:
    *cuts*.jsonl[.gz]                                            cuts
    *recordings*.jsonl[.gz] with *supervisions*.jsonl[.gz]       lhotse prepare; pairs share the rest of their names
A cut here is one utterance: recordings with several supervisions are cut into them. See https://lhotse.readthedocs.io
"""

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadFile, SpeechlibError
from . import labels
from .assemble import Corpus, Skipped, empty, gender_of
from .labels import Interval

if TYPE_CHECKING:
    from lhotse.cut import Cut

_TIERS = {"phones": "phone", "words": "word"}


def load(root: Path) -> Corpus:
    """The utterances of the manifests; relative audio paths hang on the manifest's folder."""
    from lhotse import CutSet

    if not root.exists():
        raise SpeechlibError(f"corpus 'manifest': there is no file or folder {root}")
    cuts: dict[str, Cut] = {}
    skipped = []
    for path, given in _manifests(root):
        try:
            for cut in given:
                try:
                    cut = _utterance(cut, path.parent)
                    if cut.id in cuts:
                        raise BadFile(path, f"a second utterance named {cut.id}")
                    cuts[cut.id] = cut
                except BadFile as error:
                    skipped.append(Skipped(error.path, error.reason))
        except BadFile as error:  # a line that is none: lhotse reads all of a file or nothing
            skipped.append(Skipped(error.path, error.reason))
    if not cuts:
        raise empty("manifest", f"cuts or recordings in {root}", skipped)
    return Corpus("manifest", CutSet.from_cuts(cuts[key] for key in sorted(cuts)), tuple(skipped))


def _manifests(root: Path):
    """(file, cuts) for every manifest of `root`; recordings are cut by the supervisions that belong to them."""
    files = [root] if root.is_file() else sorted(p for p in root.rglob("*.jsonl*") if p.suffix in (".jsonl", ".gz"))
    supervisions = {path: path for path in files if "supervisions" in path.name}
    for path in files:
        partner = path.with_name(path.name.replace("recordings", "supervisions"))
        if path in supervisions:
            continue
        yield path, _read(path, supervisions.get(partner) or (partner if partner.is_file() else None))


def _read(path: Path, supervisions: Path | None):
    from lhotse import CutSet, RecordingSet, load_manifest

    try:
        manifest = load_manifest(path)
        if isinstance(manifest, RecordingSet):
            segments = load_manifest(supervisions) if supervisions and supervisions != path else None
            manifest = CutSet.from_manifests(recordings=manifest, supervisions=segments)
        if not isinstance(manifest, CutSet):
            raise BadFile(path, f"is a {type(manifest).__name__}; cuts, or recordings with supervisions, are needed")
        for cut in manifest:
            yield from _utterances(cut)
    except BadFile:
        raise
    except Exception as error:  # a manifest of another version fails in as many ways as there are fields
        raise BadFile(path, f"is not a lhotse manifest that can be read ({type(error).__name__}: {error})") from None


def _utterances(cut: "Cut"):
    """The cut itself when its one supervision fills it, else a cut per supervision."""
    said = cut.supervisions
    if not said or (len(said) == 1 and said[0].duration > cut.duration - 0.05):
        yield cut
        return
    for piece in cut.trim_to_supervisions(keep_overlapping=False):
        yield piece.with_id(piece.supervisions[0].id)


def _utterance(cut: "Cut", folder: Path) -> "Cut":
    """The cut as the rest of speechlib wants it: audio found, one supervision, genders and tiers by our names."""
    from lhotse import SupervisionSegment
    from lhotse.cut.data import DataCut
    from lhotse.utils import fastcopy

    if not isinstance(cut, DataCut) or cut.recording is None:
        raise BadFile(cut.id, "is a mixture, padding, or without a recording: only plain cuts are utterances")
    sources = []
    for source in cut.recording.sources:
        if source.type != "file":  # lhotse would run a "command" in a shell
            reason = f"has a source of type {source.type!r}: only files are read, nothing is executed or fetched"
            raise BadFile(cut.id, reason)
        path = next((p for p in (folder / source.source, Path(source.source)) if p.is_file()), None)
        if path is None:
            raise BadFile(source.source, f"does not exist, neither as written nor under {folder}")
        sources.append(fastcopy(source, source=str(path.resolve())))
    cut = fastcopy(cut, recording=fastcopy(cut.recording, sources=sources))
    said = cut.supervisions[0] if cut.supervisions else SupervisionSegment(cut.id, cut.recording_id, 0.0, cut.duration)
    tiers = {  # lhotse keeps times from the start of the recording in every part of it
        _TIERS.get(name, name): [Interval(i.symbol, i.start - cut.start, i.end - cut.start) for i in items]
        for name, items in (said.alignment or {}).items()
    }
    alignment = labels.to_alignment(labels.fit(tiers, cut.duration)[0]) or None
    said = fastcopy(said, speaker=said.speaker or "unknown", gender=gender_of(said.gender), alignment=alignment)
    return fastcopy(cut, supervisions=[said])
