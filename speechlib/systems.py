"""Whole systems: data, model, objective and training put together, for notebooks and the command line.

run = systems.train(presets.get("vqvae", "demo"))       # trains, or continues, or returns the finished run
trained = systems.load(run)                             # (model, experiment, data, run)
table = systems.tokens(trained)                         # one row per code of the validation part
"""

import multiprocessing
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from . import batches, configs, corpora, objectives, packs, runs, training
from .corpora import splits
from .errors import BadFile, SpeechlibError
from .evaluation import summarise, token_table
from .evaluation.clustering import agreement, frames_at, kmeans
from .features import frame_times, n_features
from .models import MODELS
from .presets import Experiment
from .runs import Run
from .training import Progress

_INTERRUPTED = 130  # exit code of a process that was told to stop


class Data(NamedTuple):
    corpus: corpora.Corpus
    pack: packs.Pack
    split: dict[str, list[int]]  # part -> indices into the pack


class Trained(NamedTuple):
    model: nn.Module
    experiment: Experiment
    data: Data
    run: Run


def prepare(experiment: Experiment, progress: Progress | None = None) -> Data:
    """The corpus of an experiment, packed and split. What is on disk already is opened, not made again."""
    corpus = corpora.load(experiment.corpus.name, experiment.corpus.root or None)
    pack = packs.build(corpus, experiment.pack, progress=progress)
    parts = splits.split(corpus.cuts, experiment.split.parts, experiment.split.by, experiment.split.seed)
    index = {utterance: i for i, utterance in enumerate(pack.utterances)}
    split = {part: [index[utterance] for utterance in ids if utterance in index] for part, ids in parts.items()}
    for part, indices in split.items():
        if not indices:
            raise SpeechlibError(
                f"no utterance for part {part!r} of {corpus.name}: {len(pack.utterances)} usable ones, "
                f"{len(pack.skipped)} skipped, split {experiment.split.parts} by {experiment.split.by}"
            )
    return Data(corpus, pack, split)


def build(experiment: Experiment, data: Data) -> nn.Module:
    """The untrained model, with the statistics of the training part in it."""
    pack = data.pack
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.seed)
        model = MODELS[experiment.system](
            experiment.model,
            n_features=pack.n_features(experiment.inputs),
            n_targets=pack.n_features(experiment.targets),
            n_speakers=len(pack.speakers),
        )
    for part, kind in ((model.inputs, experiment.inputs), (model.targets, experiment.targets)):
        part.fit(*packs.statistics(pack, data.split["train"], kind))
    return model


def blank(experiment: Experiment) -> nn.Module:
    """The model before it has seen any data: for one speaker, and without statistics."""
    channels = {config.kind: n_features(config) for config in experiment.pack.features}
    return MODELS[experiment.system](experiment.model, channels[experiment.inputs], channels[experiment.targets], 1)


def summary(experiment: Experiment):
    """DataFrame of the model's layers: kind, shape for one crop, parameters. Needs no data (one speaker is assumed)."""
    import pandas

    return pandas.DataFrame(blank(experiment).summary(experiment.training.n_frames)).set_index("name")


def crops(experiment: Experiment, data: Data, part: str = "train") -> batches.Crops:
    config = experiment.training
    return batches.Crops(
        data.pack,
        data.split[part],
        config.batch_size,
        config.n_frames,
        seed=experiment.seed,
        inputs=experiment.inputs,
        targets=experiment.targets,
    )


def train(experiment: Experiment, progress: Progress | None = None, data: Data | None = None) -> Run:
    """The finished run of an experiment: as it is if there is one, else trained (on) and evaluated.

    `data` spares preparing it again. Any error marks the run failed, with the reason; SpeechlibError is for what a user
    can mend.
    """
    run = runs.find(experiment)
    if run is not None and run.status == "done":
        return run
    process = training.start_accelerator()
    with process.main_process_first():
        run = runs.create(experiment)
    with run.locked() if process.is_main_process else nullcontext():
        process.wait_for_everyone()
        if run.status == "done":  # another training finished it while this one waited for the lock
            return run
        try:
            with process.main_process_first():
                data = data or prepare(experiment, progress)
            model = _descend(experiment, data, run, progress)
            if process.is_main_process:
                summary = evaluate(Trained(model, experiment, data, run))
                run.write_summary(summary | {"audio_seconds": summary["audio_seconds"] * process.num_processes})
                run.mark("done")
            process.wait_for_everyone()  # so that all of them see it done
        except Exception as error:
            if process.is_main_process:
                run.mark("failed", reason=str(error) or type(error).__name__)
            raise
    return run


def _descend(experiment: Experiment, data: Data, run: Run, progress: Progress | None) -> nn.Module:
    model = build(experiment, data)
    device = training.device_of(experiment.training)
    data = data._replace(pack=data.pack.to(device))
    objective = getattr(objectives, experiment.system)
    validation = crops(experiment, data, "val")
    first = validation.batch(0)
    if experiment.training.record_codebook and experiment.model.slices:
        raise SpeechlibError(
            f"training.record_codebook records one codebook, model.slices has {experiment.model.slices}"
        )

    def snapshot(model: nn.Module) -> dict[str, Tensor]:
        """The codebook and what it quantises: the encoder's vectors of one validation batch, (N, D)."""
        with torch.inference_mode():
            z_e = model.encode(first.inputs)
            codes = model.quantize(z_e).codes
        return {
            "codebook": model.quantizer.codebook,
            "z_e": z_e.transpose(1, 2).flatten(0, 1),
            "codes": codes.flatten(),
            "speaker": first.speaker.repeat_interleave(codes.shape[-1]),
        }

    return training.descend(
        model, objective, crops(experiment, data), experiment.training, run, validation, snapshot, progress
    )


def load(run: Run, data: Data | None = None) -> Trained:
    """A run with its model (on the CPU, in eval mode) and data (`data` spares preparing it again).

    Raises BadFile where the run is of another version or its checkpoint is damaged.
    """
    experiment = experiment_of(run)
    return Trained(runs.load_model(run.checkpoint), experiment, data or prepare(experiment), run)


def experiment_of(run: Run) -> Experiment:
    """The experiment that a run resolved. Raises BadFile for keys or values that this version does not know."""
    try:
        return configs.from_dict(Experiment, run.experiment)
    except SpeechlibError as error:
        made_by = run.config.get("versions", {}).get("speechlib", "another version")
        reason = (
            f"was made by speechlib {made_by} with settings unknown here ({error}): train again, or use that version"
        )
        raise BadFile(run.path / "config.json", reason) from None


@torch.inference_mode()
def encode(trained: Trained, indices: Iterable[int]) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Utterance index -> its codes (L,), and -> the times of their centres in seconds (L,).

    The codes of several slices are counted as one: code_1 + codebook_size * code_2 + ...
    """
    model, experiment, pack = trained.model, trained.experiment, trained.data.pack
    config = pack.config_of(experiment.inputs)
    codes, times = {}, {}
    for batch in batches.whole(pack, indices, experiment.inputs, experiment.targets):
        found = model.codes(batch.inputs.to(_device(model)))[0].cpu()
        found = found.reshape(max(1, len(experiment.model.slices)), -1)  # (G, L)
        place = experiment.model.codebook_size ** torch.arange(len(found))[:, None]
        index = int(batch.utterance)
        codes[index] = (found * place).sum(0).numpy()
        times[index] = frame_times(1, config)[0] + model.code_positions(found.shape[1]).numpy() / config.frame_rate
    return codes, times


def n_codes(experiment: Experiment) -> int:
    return experiment.model.codebook_size ** max(1, len(experiment.model.slices))


def tokens(trained: Trained, part: str = "val"):
    """The token table of one part: a row per code with utterance, speaker, time, code and phone."""
    return token_table(trained.data.pack, *encode(trained, trained.data.split[part]))


@torch.inference_mode()
def reconstruct(trained: Trained, index: int, speaker: int | None = None) -> Tensor:
    """Utterance `index` through the codes and back: (C2, T) in the units of the targets.

    With the voice of `speaker` (an index into pack.speakers), of its own speaker where that is None.
    """
    model, experiment = trained.model, trained.experiment
    (batch,) = batches.whole(trained.data.pack, [index], experiment.inputs, experiment.targets)
    voice = batch.speaker if speaker is None else torch.full_like(batch.speaker, speaker)
    z_q = model.quantize(model.encode(batch.inputs.to(_device(model)))).z_q
    return model.decode(z_q, voice.to(_device(model)), batch.inputs.shape[-1])[0].cpu()


def evaluate(trained: Trained) -> dict[str, float]:
    """What a run is judged by, on its validation part, beside k-means on the same features at the same times."""
    experiment, config = trained.experiment, trained.experiment.training
    pack, split = trained.data.pack, trained.data.split
    table = tokens(trained)
    scores = summarise(table, n_codes(experiment))
    if "nmi" in scores:
        beside = agreement(table.assign(code=baseline(trained)))
        scores |= {f"kmeans_{name}": beside[name] for name in ("nmi", "ami")}
    validation, logged = trained.run.metrics("validation"), trained.run.metrics("train")
    frame_rate = pack.config_of(experiment.inputs).frame_rate
    return scores | {
        "reconstruction": float(validation["reconstruction"].iloc[-1]),
        "parameters": sum(p.numel() for p in trained.model.parameters()),
        "steps": config.steps,
        "audio_seconds": config.steps * config.batch_size * config.n_frames / frame_rate,
        "train_utterances": len(split["train"]),
        "val_utterances": len(split["val"]),
        "seconds": float(logged["seconds"].iloc[-1]),
    }


def baseline(trained: Trained, part: str = "val", statics_only: bool = False) -> np.ndarray:
    """Codes (N,) of k-means, a row for each of `tokens(trained, part)`: as many clusters as a codebook has codes, on
    the standardised inputs at the times of the codes, fitted on some 500 utterances of the training part.

    `statics_only` leaves out the differences among the features: fewer numbers, and a harder rival.
    """
    train, split = trained.data.split["train"], trained.data.split[part]
    config = trained.data.pack.config_of(trained.experiment.inputs)
    kept = slice(config.n_static if statics_only else None)
    fit = _frames(trained, train[:: max(1, len(train) // 500)])[:, kept]
    n_clusters = min(trained.experiment.model.codebook_size, len(fit))
    return kmeans(fit, _frames(trained, split)[:, kept], n_clusters, trained.experiment.seed)


def _frames(trained: Trained, indices: list[int]) -> np.ndarray:
    """Standardised inputs (N, C) at the positions of the codes of these utterances."""
    model, pack = trained.model, trained.data.pack
    gathered = []
    for i in indices:
        features = model.inputs(pack.features(i, trained.experiment.inputs).to(_device(model))).cpu()
        gathered.append(frames_at(features, model.code_positions(features.shape[1] // model.config.stride + 1)))
    return np.concatenate(gathered)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def sweep(experiments: Iterable[Experiment], jobs: int = 1, progress: Progress | None = None) -> list[Run]:
    """Train all, in order: one after the other here, or `jobs` at a time in processes with one thread each.

    What is finished is not trained again; one that fails is marked failed, with its reason, and stops no other.
    """
    experiments = list(experiments)
    for data in {repr((e.corpus, e.pack)): e for e in experiments}.values():
        with suppress(SpeechlibError):  # packed once, here; what cannot be had, its runs will say
            prepare(data)
    steps = {i: 0 for i in range(len(experiments))}
    total = sum(experiment.training.steps for experiment in experiments)

    def one(i: int) -> Run:
        def tell(done: int, _of: int, text: str = "") -> None:
            steps[i] = done
            if progress:
                progress(sum(steps.values()), total, f"{i + 1}/{len(experiments)} {text}")

        run = runs.create(experiments[i])
        try:
            (train if jobs == 1 else _train_elsewhere)(experiments[i], tell)
        except Exception as error:
            run.mark("failed", reason=str(error) or type(error).__name__)
        tell(experiments[i].training.steps, 0)
        return run

    if jobs == 1:
        return [one(i) for i in steps]
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, steps))


def _train_elsewhere(experiment: Experiment, progress: Progress) -> None:
    """`train` in a process of its own, which may die without taking this one along."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_train_child, args=(experiment, there), daemon=True)
    process.start()
    there.close()
    try:
        while True:
            progress(*here.recv())
    except EOFError:
        process.join()
    if process.exitcode not in (0, _INTERRUPTED):
        reason = runs.find(experiment).reason
        raise SpeechlibError(reason or f"its process ended with exit code {process.exitcode}: out of memory?")


def _train_child(experiment: Experiment, parent) -> None:
    torch.set_num_threads(1)
    try:
        train(experiment, lambda *told: parent.send(told))
    except Exception:  # the run says why
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(_INTERRUPTED) from None
