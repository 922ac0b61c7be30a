"""VAE on phone windows."""

from .. import objectives
from ..errors import SpeechlibError
from ..features import n_features
from ..models.vae import VAE
from ..presets import Experiment
from .data import Trained
from .windows import batches, fit, mean_terms

__all__ = ["batches", "fit", "new", "objective", "scores", "snapshot"]

objective = objectives.vae


def new(experiment: Experiment, n_speakers: int) -> VAE:
    sizes = {config.kind: n_features(config) for config in experiment.pack.features}
    return VAE(experiment.model, sizes[experiment.inputs], experiment.training.n_frames)


def snapshot(experiment: Experiment, batch):
    raise SpeechlibError("training.record_codebook is on, and a VAE has no codebook")


def scores(trained: Trained) -> dict[str, float]:
    """The objective's terms over all windows of both parts, with one set of weights; "gap" is the share of the training
    part's ELBO (or loss) that the validation part falls behind."""
    found = {}
    for part in ("train", "val"):
        terms = mean_terms(trained.model, objective, batches(trained.experiment, trained.data, part))
        found |= {f"{part}_{name}": value for name, value in terms.items()}
    judged = "elbo" if "train_elbo" in found else "loss"
    gap = found[f"val_{judged}"] - found[f"train_{judged}"]
    return found | {"gap": abs(gap) / abs(found[f"train_{judged}"]), "kl_floor": trained.experiment.model.kl_floor}
