"""The one training loop of all recipes that train a network by gradients."""

import hashlib
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import scatcache
from pipelines.checkpoint import Checkpoint
from pipelines.data import Data, Part
from pipelines.metrics import Measure, accuracy
from pipelines.recipe import SECONDS_BETWEEN_LINES, Options, say
from pipelines.training import Training

TEST_BATCH = 500


@dataclass(frozen=True)
class Run:
    """What one run came to.

    results: figures by name, those of the last epoch; elapsed_s: of training and testing, over all its interruptions;
    epochs: records by epoch, none for what is not trained in epochs; facts: what else tells this run from the others;
    checkpoints: the files that a run keeps until it is reported, so that an interruption in a later run costs it
    nothing; tables: by name what is too long for a line, lists or mappings that the report alone holds.
    """

    seed: int
    results: dict[str, float]
    elapsed_s: float
    epochs: tuple[dict[str, Any], ...] = ()
    facts: dict[str, Any] | None = None
    checkpoints: tuple[Path, ...] = ()
    tables: dict[str, Any] | None = None


def seed_everything(seed: int) -> None:
    """Seeds what weights and dropout are drawn from; the loaders get the seed by themselves."""
    torch.manual_seed(seed)


def train(
    model: nn.Module,
    data: Data,
    training: Training,
    *,
    seed: int,
    options: Options,
    name: str,
    augment: Any = None,
    measure: Measure = accuracy,
    facts: dict[str, Any] | None = None,
) -> Run:
    """Trains model in place, and tests it after the last epoch.

    name: of the run's files in options.results: a checkpoint until it is reported, from which the same command goes on
    after an interruption and ends in the same weights, and the weights with options.save_model. augment: as for a
    loader. measure: of the scores on the test part. Raises what reading a store raises, and ScatcacheError where the
    loss is no longer finite.
    """
    loader = make_loader(
        data.train, training.batch_size, shuffle=True, seed=seed, augment=augment, device=options.device
    )
    identity = {"name": name, "seed": seed, "training": asdict(training), "augment": repr(augment)}
    identity |= {"rows": data.train.digest, "tested": data.test.digest, "model": hash_model(model)}
    checkpoint = Checkpoint(options.results / f"{name}.checkpoint", identity, options.checkpoint_minutes * 60)
    loop = Loop(model, loader, training=training, checkpoint=checkpoint, name=name)
    with catch_interruption() as interrupted:
        while loop.epoch < training.epochs:
            record = loop.train_epoch(interrupted)
            if training.is_evaluated(record["epoch"]):
                record |= measure_part(model, data.test, device=options.device, measure=measure)
            loop.finish_epoch(record)
    results = {key: value for key, value in loop.records[-1].items() if key.startswith(data.test.name)}
    if options.save_model:
        save_model(model, options.results / f"{name}.pt")
    loop.finish()
    return Run(seed, results, loop.elapsed_s, tuple(loop.records), facts, (loop.checkpoint.path,))


@contextmanager
def catch_interruption() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that no step is left half done; the second ends the program at once."""
    interrupted, earlier = threading.Event(), signal.getsignal(signal.SIGINT)

    def note(signum: int, frame: Any) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, earlier)

    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, earlier)


class Loop:
    """A training under way: all of it that a checkpoint holds.

    records: of the finished epochs; tally: of the epoch under way: summed loss, right answers, rows; float64 (3,).
    """

    def __init__(self, model: nn.Module, loader: Any, *, training: Training, checkpoint: Checkpoint, name: str):
        self.device = loader.device
        self.model = move_model(model, self.device)
        self.training, self.name = training, name
        self.optimizer = training.make_optimizer(model)
        self.precision = Precision(self.device)
        self.loader, self.checkpoint = loader, checkpoint
        self.records: list[dict[str, Any]] = []
        self.tally = torch.zeros(3, dtype=torch.float64, device=self.device)
        self._earlier_s, self._started_s = 0.0, time.monotonic()
        self._said_s = self._started_s
        state = self.checkpoint.read(self.device)
        if state is not None:
            self._load(state)
            say(f"{name}: goes on from its checkpoint, {self.epoch} of {training.epochs} epochs done")

    @property
    def epoch(self) -> int:
        """The epoch under way, counted from 0."""
        return len(self.records)

    @property
    def elapsed_s(self) -> float:
        return self._earlier_s + time.monotonic() - self._started_s

    def train_epoch(self, interrupted: threading.Event) -> dict[str, Any]:
        """Takes the steps that are left of this epoch; its record. Interrupted, it keeps a checkpoint and raises
        KeyboardInterrupt."""
        self.model.train()
        first = self.loader.state_dict()["step"]
        for step, (S, y) in enumerate(self.loader, self.epoch * len(self.loader) + first):
            lr = self._step(S, y, step)
            if step + 1 < (self.epoch + 1) * len(self.loader):
                if interrupted.is_set():
                    self.checkpoint.write(self._state())
                    raise KeyboardInterrupt
                self.checkpoint.write_when_due(self._state)
        loss, right, n_rows = self.tally.tolist()
        self.tally.zero_()
        if not np.isfinite(loss):
            raise scatcache.ScatcacheError(f"{self.name}: the loss is {loss} in epoch {self.epoch + 1}: lower the rate")
        record = {"epoch": self.epoch, "loss": loss / n_rows, "train_accuracy": 100 * right / n_rows, "lr": lr}
        return {**record, "elapsed_s": self.elapsed_s}

    def finish_epoch(self, record: dict[str, Any]) -> None:
        self.records.append(record)
        if self.training.is_evaluated(record["epoch"]) or time.monotonic() - self._said_s >= SECONDS_BETWEEN_LINES:
            self._said_s = time.monotonic()
            figures = ", ".join(f"{key} {value:.4g}" for key, value in record.items() if key != "epoch")
            say(f"{self.name}: epoch {self.epoch} of {self.training.epochs}: {figures}")
        if self.epoch < self.training.epochs:
            self.checkpoint.write_when_due(self._state)

    def finish(self) -> None:
        """Keeps the end of the run until it is reported."""
        self.checkpoint.write(self._state())

    def _step(self, S: torch.Tensor, y: torch.Tensor, step: int) -> float:
        """One update; returns the learning rate it was made with."""
        lr = self.training.lr_at(step, len(self.loader))
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        with self.precision.autocast():
            scores = self.model(S)
            loss = nn.functional.cross_entropy(scores, y)
        self.optimizer.zero_grad(set_to_none=True)
        self.precision.step(loss, self.optimizer)
        right = (scores.detach().argmax(1) == y).sum()
        self.tally += torch.stack([loss.detach().double() * len(y), right.double(), torch.tensor(len(y)).to(right)])
        return lr

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "loader": self.loader.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all(),
            "records": self.records,
            "tally": self.tally,
            "elapsed_s": self.elapsed_s,
        }

    def _load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.precision.scaler.load_state_dict(state["scaler"])
        self.loader.load_state_dict(state["loader"])
        torch.set_rng_state(state["random"].cpu())
        torch.cuda.set_rng_state_all([generator.cpu() for generator in state["random_cuda"]])
        self.records, self._earlier_s = state["records"], state["elapsed_s"]
        self.tally.copy_(state["tally"])


class Precision:
    """Mixed precision on CUDA, bfloat16 where the device has it, else float16 and a scaled loss; float32 on the CPU."""

    def __init__(self, device: torch.device):
        self.device = device
        on_cuda = device.type == "cuda"
        has_bfloat16 = on_cuda and torch.cuda.is_bf16_supported(including_emulation=False)
        self.dtype = torch.bfloat16 if has_bfloat16 or not on_cuda else torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=on_cuda and not has_bfloat16)

    @contextmanager
    def autocast(self) -> Iterator[None]:
        with torch.autocast(self.device.type, self.dtype, enabled=self.device.type == "cuda"):
            yield

    def step(self, loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        """The gradients of loss, and one step of the optimizer by them."""
        self.scaler.scale(loss).backward()
        self.scaler.step(optimizer)
        self.scaler.update()


def hash_model(model: nn.Module) -> str:
    """Tells a network, its layers and first weights, from others."""
    digest = hashlib.sha256(str(model).encode())
    for name, values in model.state_dict().items():
        digest.update(name.encode() + values.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def move_model(model: nn.Module, device: torch.device) -> nn.Module:
    """The model on its device, in the memory layout that CUDA's convolutions like."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        return model.to(device, memory_format=torch.channels_last)
    return model.to(device)


def make_loader(
    part: Part, batch_size: int, *, shuffle: bool = False, seed: int = 0, augment: Any = None, device: str = "cpu"
) -> scatcache.CacheLoader:
    """A loader of the part's rows and labels; shuffled, of one view of each image in each epoch.

    A last batch of one row, which batch normalisation cannot be trained by, is left out when shuffling.
    """
    n_images = len(np.unique(part.cache.image_index[part.rows]))
    loader_options = scatcache.LoaderOptions(
        batch_size,
        shuffle,
        seed=seed,
        rows=part.rows,
        labels=part.labels,
        drop_last=shuffle and n_images > batch_size and n_images % batch_size == 1,
        augment=augment,
        device=device,
    )
    return scatcache.CacheLoader(part.cache, loader_options)


@torch.no_grad()
def score(model: nn.Module, part: Part, *, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(scores float32 (n, n_classes), labels int64 (n,)) of the part's rows in order, on the CPU; sets eval mode."""
    model.eval()
    scores, labels = [], []
    with Precision(torch.device(device)).autocast():
        for S, y in make_loader(part, TEST_BATCH, device=device):
            scores.append(model(S).float().cpu())
            labels.append(y.cpu())
    return torch.cat(scores), torch.cat(labels)


def measure_part(model: nn.Module, part: Part, *, device: str, measure: Measure) -> dict[str, float]:
    """What measure says of the model on the part, under names that begin with the part's."""
    return {f"{part.name}_{key}": value for key, value in measure(*score(model, part, device=device)).items()}


def save_model(model: nn.Module, path: Path) -> None:
    """The weights, on the CPU, for torch.load(path, weights_only=True)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({key: value.cpu() for key, value in model.state_dict().items()}, path)
