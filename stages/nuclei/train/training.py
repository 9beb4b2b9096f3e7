"""The training loop: steps, averaged weights, validation, the choice of the best epoch, and resuming."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import cv2
import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from nuclei.base.errors import InputError
from nuclei.base.machine import cores
from nuclei.base.parallel import ahead
from nuclei.base.params import Train
from nuclei.base.progress import track
from nuclei.images.io import read_labels, read_rgb
from nuclei.images.records import Record, image_path, label_path
from nuclei.network.model import NucleusNet
from nuclei.network.segmenter import Segmenter, Settings
from nuclei.network.sizing import diameter
from nuclei.network.targets import TARGETS
from nuclei.scores.metrics import pixel_counts
from nuclei.train.checkpoint import Checkpoint
from nuclei.train.crops import Crops
from nuclei.train.losses import DiceBCELoss, instance_loss

Row = dict[str, float]
Item = TypeVar("Item")
HISTORY_COLUMNS = [
    *("epoch", "train_loss", "train_instance_loss"),  # of the second head, which neither of the other losses includes
    *("val_loss", "val_dice_true_scale", "val_iou_true_scale", "learning_rate"),  # see `validate`
    "kept",  # 1: the weights after this epoch are the model's; 0
]


class Training:
    """One training of one network, from the first step or a checkpoint to the weights of the best epoch.

    Args:
        net: the network, with its first weights.
        crops: the training crops of all epochs.
        settings: how the network predicts on validation images.
        train: the parameters of training.
        fabric: device and precision.
        checkpoint: of this training, from an interrupted run or still to be written.
    """

    def __init__(
        self, net: NucleusNet, crops: Crops, settings: Settings, train: Train, fabric: Fabric, checkpoint: Checkpoint
    ) -> None:
        self.crops, self.settings, self.train, self.fabric, self.checkpoint = crops, settings, train, fabric, checkpoint
        self.steps_per_epoch = crops.per_epoch // train.batch_size
        self.last_epoch = train.stop_epoch or crops.epochs
        net = net.to(memory_format=torch.channels_last)
        if fabric.world_size > 1 and fabric.device.type == "cuda":  # statistics over the slices of all processes
            net = cast(NucleusNet, torch.nn.SyncBatchNorm.convert_sync_batchnorm(net))
        optimizer = _optimizer(net, train, fused=fabric.device.type == "cpu")
        self.schedule = _schedule(optimizer, train, self.steps_per_epoch * crops.epochs)
        self.net, self.optimizer = fabric.setup(net, optimizer)
        self.net.train()
        self.average = AveragedModel(net, multi_avg_fn=_ema(train.ema_decay), use_buffers=True)
        self.first = {name: value.clone() for name, value in self.average.module.state_dict().items()}
        self.loss = DiceBCELoss(train.dice_weight, train.boundary_weight)
        self.target = TARGETS.get(train.instance_target)
        self.history: list[Row] = []
        self.best: dict[str, Tensor] = {}

    def fit(self, validation: Sequence[Record], log: Callable[[Row], None]) -> Segmenter:
        """Train to the last epoch, or to `train.stop_epoch`, and return the model of the one to keep.

        That is the best by validation Dice, or the last; see `train.keep_epoch`. Its row of the history says so.

        Args:
            validation: the images that choose the epoch; if there are none, the last epoch is returned, and the rows
                have no columns of validation.
            log: called with the row of each epoch, first with those of an interrupted run.

        Raises:
            InputError: a loss or a gradient is not finite.
        """
        self._resume()
        for row in self.history:
            log(row)
        batches = self.batches(first=len(self.history))
        for epoch in range(len(self.history) + 1, self.last_epoch + 1):
            start = time.monotonic()
            # what dropout draws depends on the epoch, not on those before it: a resumed run draws the same
            torch.manual_seed(_seed(self.crops.seed, epoch, self.fabric.global_rank))
            losses = [
                self.step(batch, epoch)
                for batch in self._track(
                    (next(batches) for _ in range(self.steps_per_epoch)),
                    what=f"epoch {epoch}/{self.crops.epochs}",
                    total=self.steps_per_epoch,
                    unit="step",
                )
            ]
            of_foreground, of_instances = np.mean(losses, axis=0).tolist()
            row = {
                "epoch": epoch,
                "train_loss": of_foreground,
                "train_instance_loss": of_instances,
                **(self._validate(validation) if validation else {}),
                "learning_rate": float(self.schedule.get_last_lr()[0]),
            }
            if validation:
                self._check(row["val_loss"], f"the loss on the validation images is no longer finite: epoch {epoch}")
            self._keep(row)
            log(row)
            self.fabric.print(_line(row, self.crops.epochs, time.monotonic() - start), flush=True)
        kept = self._kept(self.history)
        self.history = [row | {"kept": int(row is kept)} for row in self.history]
        self.average.module.load_state_dict(self._mixed(self.best))
        return self._segmenter(self.settings)

    def step(self, batch: Sequence[Tensor], epoch: int) -> tuple[float, float]:
        """Update the weights with one batch of `batches` and return its two losses, whose sum is minimised.

        The second, of the instance target, is weighted by train.instance_weight; 0 without a second head.

        Raises:
            InputError: the loss or its gradient is not finite; `epoch` is named in the message.
        """
        image, foreground, maps, weight = batch
        logits, predicted = self._forward(image.contiguous(memory_format=torch.channels_last))
        loss = self.loss(logits, foreground)
        losses = [loss, torch.zeros_like(loss)]
        if self.target is not None:
            losses[1] = self.train.instance_weight * instance_loss(self.target, predicted, maps, weight)
            loss = losses[0] + losses[1]
        of_foreground, of_instances = self._mean(torch.stack(losses).detach()).tolist()
        where = f"epoch {epoch}, step {self.schedule.last_epoch + 1}"
        self._check(of_foreground + of_instances, f"the loss is no longer finite: {where}")
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(
            self.net, self.optimizer, max_norm=self.train.gradient_clip, error_if_nonfinite=False
        )
        if self.train.precision != "16-mixed":  # there the gradient scaler skips such a step and lowers its scale
            self._check(float(cast(Tensor, norm)), f"the gradient is no longer finite: {where}")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        self.average.update_parameters(self.net.module)
        return of_foreground, of_instances

    def batches(self, first: int) -> Iterator[Sequence[Tensor]]:
        """All batches from epoch `first`, counted from 0, to the last; none holds crops of two epochs.

        Each of several processes gets its slice of every batch, so together they get the crops of one process.
        """
        per_epoch, size, rank = self.crops.per_epoch, self.train.batch_size, self.fabric.global_rank
        share = size // self.fabric.world_size
        batches = [
            list(range(start + rank * share, start + (rank + 1) * share))
            for start in range(first * per_epoch, self.last_epoch * per_epoch, size)
        ]
        on_cpu = self.fabric.device.type == "cpu"
        here = self.fabric.world_size // self.train.nodes  # processes on this machine
        workers = 0 if on_cpu else min(max(cores() // here, 1), 16)
        self.crops.share_memory(max(workers, 1) * here)
        loader = DataLoader(
            self.crops,
            batch_sampler=batches,
            num_workers=workers,
            pin_memory=not on_cpu,
            generator=torch.Generator(),  # its own, so that starting the loader draws nothing from the network's
        )
        loaded: Iterator[Any] = iter(self.fabric.setup_dataloaders(loader, use_distributed_sampler=False))
        if not on_cpu:
            return loaded
        # one thread that loads ahead takes less time from the network's cores than worker processes or OpenCV's threads
        cv2.setNumThreads(1)
        return ahead(loaded)

    def _mean(self, value: Tensor) -> Tensor:
        """The mean over all processes, in place, so that all of them stop where it is not finite."""
        return cast(Tensor, self.fabric.all_reduce(value, reduce_op="mean"))

    def _track(self, items: Iterable[Item], **meter: Any) -> Iterator[Item]:
        """Show the progress of the first process."""
        return track(items, **meter) if self.fabric.is_global_zero else iter(items)

    def _forward(self, image: Tensor) -> Any:
        """What the network returns, (logits, maps)."""
        try:
            return self.net(image)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise InputError(
                "batch normalisation can not train on one value per channel",
                got=f"{len(image)} crop of {image.shape[-1]} px at a time",
                fix=f"raise train.batch_size ({self.train.batch_size}) or train.crop_px ({self.train.crop_px})",
            ) from None

    def _check(self, value: float, problem: str) -> None:
        """Raise InputError if a loss, or the norm of a gradient, is not finite."""
        if not math.isfinite(value):
            raise InputError(
                problem,
                got=value,
                fix=f"lower train.learning_rate ({self.train.learning_rate}) or train.gradient_clip "
                f"({self.train.gradient_clip}), or set train.precision to 32-true; nothing was overwritten",
            )

    def _mixed(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The mean of trained weights and the first ones, of which `train.start_share` is the share.

        So a model keeps more of what it knew: Wortsman et al. (2022), Robust fine-tuning of zero-shot models.
        """
        return {
            name: value.lerp(self.first[name].to(value.device), self.train.start_share)
            if value.is_floating_point()
            else value
            for name, value in state.items()
        }

    def _validate(self, records: Sequence[Record]) -> Row:
        """Score the averaged weights; each of several processes takes its share of the images."""
        rank, processes = self.fabric.global_rank, self.fabric.world_size
        if processes > 1:
            for buffer in self.average.module.buffers():  # each process has its own statistics of batch normalisation
                distributed.broadcast(buffer, 0)
        segmenter = self._segmenter(replace(self.settings, flips=False))
        own = validate(segmenter, records[rank::processes], self)
        shares = [own]
        if processes > 1:
            shares = [[] for _ in range(processes)]
            distributed.all_gather_object(shares, own)
        losses, dices, ious = zip(*(shares[i % processes][i // processes] for i in range(len(records))), strict=True)
        return {
            "val_loss": float(np.mean(losses)),
            "val_dice_true_scale": float(np.nanmean(dices)),
            "val_iou_true_scale": float(np.nanmean(ious)),
        }

    def _segmenter(self, settings: Settings) -> Segmenter:
        """A segmenter with the averaged weights."""
        averaged = cast(NucleusNet, self.average.module)
        return Segmenter(averaged, settings, device=self.fabric.device.type)

    def _keep(self, row: Row) -> None:
        """Add an epoch to the history, keep its weights if they are the ones so far, and write the checkpoint."""
        self.history.append(row)
        if self._kept(self.history) is row:
            self.best = {name: value.clone() for name, value in self.average.module.state_dict().items()}
        if self.fabric.is_global_zero:
            self.checkpoint.save(
                {
                    "net": self.net.state_dict(),
                    "average": self.average.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "schedule": self.schedule.state_dict(),
                    "scaler": self.fabric.strategy.precision.state_dict(),  # of 16-mixed; else empty
                    "history": self.history,
                    "best": self.best,
                }
            )

    def _kept(self, history: Sequence[Row]) -> Row:
        """The row of the epoch whose weights are kept; of equally good ones the last."""
        if self.train.keep_epoch == "last":
            return history[-1]
        return max(reversed(history), key=lambda row: row.get("val_dice_true_scale", 0.0))

    def _resume(self) -> None:
        if self.fabric.is_global_zero:
            self.checkpoint.start()
        state = self.checkpoint.load()
        epochs = 0 if state is None else len(state["history"])
        first = self.fabric.broadcast(epochs)
        if first != epochs:
            raise InputError(
                "the processes of this training read different checkpoints",
                file=self.checkpoint.path,
                got=f"{epochs} epochs",
                expected=f"{first} epochs, as in the first process",
                fix="run it in a folder that all machines share",
            )
        if state is None:
            return
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.fabric.strategy.precision.load_state_dict(state["scaler"])
        self.history, self.best = state["history"], state["best"]
        self.fabric.print(f"resuming after epoch {len(self.history)} of an interrupted run", flush=True)


def validate(segmenter: Segmenter, records: Sequence[Record], training: Training) -> list[tuple[float, float, float]]:
    """Score the foreground at 0.5 on whole images: the loss, Dice and IoU of each.

    Each image is rescaled by the diameter of its annotated nuclei, which saves the first pass that measures it.
    """
    scores = []
    for record in training._track(records, what="validation", total=len(records)):
        labels = read_labels(label_path(training.crops.folder, record.id))
        truth = labels > 0
        probability = segmenter.maps(read_rgb(image_path(training.crops.folder, record.id)), diameter(labels))[0]
        logits = torch.logit(torch.from_numpy(probability), eps=1e-6)
        loss = training.loss(logits[None, None], torch.from_numpy(truth)[None, None].float())
        counts = pixel_counts(truth, probability >= 0.5)
        scores.append((float(loss), float(counts.dice), float(counts.iou)))
    segmenter.net.train()
    return scores


def _optimizer(net: NucleusNet, train: Train, *, fused: bool) -> torch.optim.Optimizer:
    """The optimizer, with weight decay for convolutions only, not for biases and normalisation (He et al., 2018).

    `fused`: update all weights in one kernel. With 16-mixed on a GPU this does not work together with clipping.
    """
    decayed = [p for p in net.parameters() if p.ndim > 1]
    rest = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": train.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    if train.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=train.learning_rate, momentum=0.9, nesterov=True, fused=fused)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[train.optimizer]
    return kind(groups, lr=train.learning_rate, fused=fused)


def _schedule(optimizer: torch.optim.Optimizer, train: Train, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """A linear warm-up, then a cosine that falls to zero after the last step; or a constant learning rate."""
    warmup = train.warmup_fraction * steps

    def factor(step: int) -> float:
        if train.schedule == "constant":
            return 1.0
        if step + 1 < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min((step - warmup) / (steps - warmup), 1.0))) if step > warmup else 1.0

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _ema(decay: float) -> Callable[[Any, Any, Any], None]:
    """An exponential moving average that starts with a short memory, so that the first weights soon stop counting.

    After n updates the decay is (1 + n) / (10 + n), at most `decay`. torch's own function has no such warm-up, and
    averages the integer counters of batch normalisation, which are copied here.
    """

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], updates: Tensor) -> None:
        keep = min(decay, float((1 + updates) / (10 + updates)))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, 1 - keep)
        else:  # the batch counters of batch normalisation
            torch._foreach_copy_(averaged, current)

    return update


def _seed(*numbers: int) -> int:
    """A seed for torch of several numbers, with no relation between those of neighbouring numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def _line(row: Row, epochs: int, seconds: float) -> str:
    scores = (
        f"val loss {row['val_loss']:.4f}  val Dice {row['val_dice_true_scale']:.4f}  "
        f"IoU {row['val_iou_true_scale']:.4f}  "
        if "val_loss" in row
        else ""
    )
    return f"epoch {row['epoch']}/{epochs}  train loss {row['train_loss']:.4f}  {scores}{seconds:.1f} s"
