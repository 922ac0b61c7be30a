"""What a training writes down: terms, gradients, codebooks, histograms, and how often each code was used.

Values stay on the device until a line is due: asking for each at once would stop a GPU at every step.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import torch
from torch import Tensor, nn

from . import runs
from .errors import SpeechlibError
from .files import full_disk_told
from .models import shares
from .models.codebooks import count
from .models.quantizers import Quantized, Quantizer
from .runs import Run

BINS = 64  # of a histogram; TensorBoard's own 1,500 fill a disk and are drawn as 30


class CodeUsage:
    """How often each code of every codebook of a model was chosen since the epoch began: counts[name] (K,).

    Quantizers are listened to by hooks, so that no model and no objective need know of epochs. Only what records
    gradients counts: training steps do, validation and snapshots do not.
    """

    def __init__(self, model: nn.Module):
        quantizers = {name: module for name, module in model.named_modules() if isinstance(module, Quantizer)}
        self.counts = {
            name: torch.zeros(q.codebook_size, dtype=torch.int64, device=q.codebook.device)
            for name, q in quantizers.items()
        }
        self._hooks = [q.register_forward_hook(partial(self._add, name)) for name, q in quantizers.items()]

    def _add(self, name: str, _quantizer: nn.Module, _inputs, output: Quantized) -> None:
        if torch.is_grad_enabled():
            self.counts[name] += shares.total(count(output.codes.flatten(), len(self.counts[name]))).long()

    def clear(self) -> None:
        for counts in self.counts.values():
            counts.zero_()

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()


class Journal:
    """The lines, recordings and TensorBoard of one run, and the check that all terms are finite.

    `rate(step)` is the learning rate. What a killed training wrote after step `done` is forgotten.
    """

    def __init__(self, run: Run, batches, rate: Callable[[int], float], done: int, seconds: float):
        from torch.utils.tensorboard import SummaryWriter

        self.run, self.batches, self.rate = run, batches, rate
        self.started = time.perf_counter() - seconds
        self.pending: list[tuple[int, Sequence[int], tuple[str, ...], Tensor]] = []
        self.text = ""
        runs.rewind(run, done)
        run.mark("running", step=done)
        self.board = SummaryWriter(str(run.path / "tensorboard"), purge_step=done + 1 if done else None)

    def seconds(self) -> float:
        return time.perf_counter() - self.started

    def note(self, step: int, taken: Sequence[int], terms: dict[str, Tensor]) -> None:
        """The terms of a step, and the numbers of its batches."""
        values = torch.stack([term.detach().float().reshape(()) for term in terms.values()])
        self.pending.append((step, taken, tuple(terms), values))

    def check(self) -> dict[str, float]:
        """The terms of the last step. Raises SpeechlibError for the first since the last check that is not finite."""
        last: dict[str, float] = {}
        for step, taken, names, values in self.pending:
            last = dict(zip(names, values.tolist()))
            for name, value in last.items():
                if not math.isfinite(value):
                    raise SpeechlibError(self._explain(step, taken, name, value))
        self.pending.clear()
        return last

    def _explain(self, step: int, taken: Sequence[int], name: str, value: float) -> str:
        some = f"what batches {', '.join(map(str, taken))} hold"
        if hasattr(self.batches, "pack"):
            names = self.batches.pack.utterances
            held = [names[i] for i in dict.fromkeys(i for n in taken for i in self.batches.batch(n).utterance.tolist())]
            some = "utterances " + ", ".join(held[:8]) + (f" and {len(held) - 8} more" if len(held) > 8 else "")
        clip = self.run.experiment["training"]["grad_clip"] or "off"
        return (
            f"step {step}: the term {name!r} is {value}. The batch held {some}. Listen to them, lower "
            f"training.learning_rate ({self.rate(step):.3g} at this step) or clip gradients (training.grad_clip is "
            f"{clip})"
        )

    def log(self, step: int) -> None:
        terms = self.check()
        self.text = "  ".join(f"{name} {terms[name]:.3g}" for name in ("loss", "perplexity") if name in terms)
        self.write(step, "train", terms | {"learning_rate": self.rate(step)})

    def write(self, step: int, part: str, terms: dict[str, float]) -> None:
        line = {"step": step, "part": part} | terms | {"seconds": round(self.seconds(), 3)}
        runs.append_line(self.run.path / "metrics.jsonl", line)
        with full_disk_told(self.run.path / "tensorboard"):
            for name, value in terms.items():
                self.board.add_scalar(f"{name}/{part}", value, step)

    def codes(self, step: int, epochs: float, counts: dict[str, Tensor]) -> None:
        """The codes of all batches since the epoch began: counts themselves, and what they say (a mean over slices)."""
        runs.append_line(
            self.run.folder("recordings") / "usage.jsonl",
            {"step": step, "epochs": epochs, "codebooks": {name: c.tolist() for name, c in counts.items()}},
        )
        used = torch.stack([(c > 0).sum() for c in counts.values()]).double().mean().item()
        size = sum(len(c) for c in counts.values()) / len(counts)
        even = torch.stack([torch.special.entr(c.double() / c.sum().clamp(min=1)).sum().exp() for c in counts.values()])
        terms = {"codes_used": used, "dead_codes": size - used, "perplexity": even.mean().item()}
        self.write(step, "epoch", {"epochs": epochs} | terms)

    def gradients(self, step: int, model: nn.Module) -> None:
        """Largest and mean absolute gradient of every weight (biases and gains left out)."""
        layers = {name: p.grad.abs() for name, p in model.named_parameters() if p.grad is not None and p.dim() > 1}
        values = torch.stack([torch.stack([g.max(), g.mean()]) for g in layers.values()]).tolist()
        path = self.run.folder("recordings") / "gradients.jsonl"
        runs.append_line(path, {"step": step, "layers": dict(zip(layers, values))})

    def codebook(self, step: int, tensors: dict[str, Tensor]) -> None:
        path = self.run.folder("recordings") / f"codebook-{step:08d}.safetensors"
        runs.save_tensors(path, tensors, {"step": step})

    def layers(self, step: int, model: nn.Module) -> None:
        """TensorBoard histograms of every weight and its gradient; of what is not finite none: `check` will tell it."""
        shown = {f"weights/{name}": parameter for name, parameter in model.named_parameters()}
        shown |= {f"gradients/{name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
        for name, tensor in shown.items():
            if tensor.isfinite().all():
                self.board.add_histogram(name, tensor, step, bins=BINS)

    def histograms(self, step: int, tensors: dict[str, Tensor]) -> None:
        """TensorBoard histograms of what a snapshot holds and of the distances of z_e (N, D) to codes (K, D); mean and
        variance of whatever is no integer."""
        tensors = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            return  # the next step's terms will not be finite either, and `check` will tell it
        z_e, codebook = tensors["z_e"], tensors["codebook"]
        if z_e.shape[1] == codebook.shape[1]:  # a softmax chooses by logits, not by distances
            tensors["distances"] = torch.cdist(z_e, codebook).square()
        moments = {}
        for name, tensor in tensors.items():
            bins = BINS if tensor.is_floating_point() else range(int(tensor.max()) + 2)
            self.board.add_histogram(f"codes/{name}", tensor, step, bins=bins)
            if tensor.is_floating_point():
                moments |= {f"{name}_mean": tensor.mean().item(), f"{name}_variance": tensor.var().item()}
        self.write(step, "histograms", moments)

    def close(self) -> None:
        with suppress(OSError):  # what TensorBoard could not write: the next line of ours tells it, or has told it
            self.board.close()
