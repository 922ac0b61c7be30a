"""A small convolutional network that reads one label off a window: who speaks, or which phone it is.

Hsu, Zhang & Glass 2017 judge what was changed in a latent space by such networks, fitted on segments of recordings: a
window was moved well if they now believe in what it was moved to, and still believe in all that was left alone.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SpeechlibError
from ..models.standardise import Standardise

_BATCH = 256


class Classifier(nn.Module):
    """Windows (B, F, w) of raw features -> logits (B, n_classes)."""

    def __init__(self, n_features: int, n_frames: int, n_classes: int, channels: int = 128):
        super().__init__()
        self.inputs = Standardise(n_features)
        layers, width = [], n_features
        for stride in (1, 2, 2):
            layers += [nn.Conv1d(width, channels, 3, stride, padding=1), nn.BatchNorm1d(channels), nn.ReLU()]
            width, n_frames = channels, -(-n_frames // stride)
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(width * n_frames, n_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.inputs(x))

    @torch.inference_mode()
    def posterior(self, windows: Tensor) -> np.ndarray:
        """Windows (N, F, w) -> p(class | window), (N, n_classes)."""
        device = self.inputs.mean.device
        found = [self(some.to(device)).softmax(1).cpu() for some in windows.split(4 * _BATCH)]
        return torch.cat(found).numpy()


def fit(windows: Tensor, labels: Sequence[int], n_classes: int, steps: int = 400, seed: int = 0) -> Classifier:
    """Fitted to windows (N, F, w) and labels (N,) by cross-entropy: AdamW, one cycle of learning rates.

    Raises SpeechlibError where there are fewer than two classes, or labels beyond them.
    """
    labels = torch.as_tensor(np.asarray(labels), dtype=torch.int64)
    if len(labels) != len(windows) or labels.unique().numel() < 2:
        raise SpeechlibError(
            f"{len(windows)} windows and {len(labels)} labels of {labels.unique().numel()} kinds: "
            "a classifier needs as many of each, and two kinds at least"
        )
    if not 0 <= int(labels.min()) <= int(labels.max()) < n_classes:
        raise SpeechlibError(f"labels {int(labels.min())}..{int(labels.max())} do not fit into {n_classes} classes")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Classifier(windows.shape[1], windows.shape[2], n_classes)
        model.inputs.fit(windows.mean((0, 2)).cpu(), windows.std((0, 2)).cpu())
        model.to(windows.device)
        optimizer = torch.optim.AdamW(model.parameters(), 4e-3, weight_decay=0.01)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
        for _ in range(steps):
            some = torch.randint(len(windows), (min(_BATCH, len(windows)),))
            loss = F.cross_entropy(model(windows[some]), labels[some].to(windows.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cycle.step()
    return model.eval().requires_grad_(False)


def accuracy(posterior, labels) -> float:
    """Share of rows (N, K) whose likeliest class is their label (N,)."""
    return float(np.mean(np.argmax(posterior, axis=1) == np.asarray(labels)))


def drift(changed, source, target, untouched, labels) -> dict[str, float]:
    """What a change did, over N windows: mean posterior of the attribute they were moved from and of that they were
    moved to, and how well the other attribute is still told.

    changed (N, K): posterior of the attribute that was moved; source, target (N, K): which classes count as each, as
    booleans, since "any woman" is several; untouched (N, L): posterior of the other one, whose labels (N,) are true.
    """
    changed, untouched, labels = np.asarray(changed), np.asarray(untouched), np.asarray(labels)
    return {
        "source": float(np.where(source, changed, 0).sum(1).mean()),
        "target": float(np.where(target, changed, 0).sum(1).mean()),
        "kept": accuracy(untouched, labels),
        "kept_posterior": float(untouched[np.arange(len(labels)), labels].mean()),
    }
