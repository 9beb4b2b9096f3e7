"""One training on several devices or machines: how its processes start, and how all of them end when one fails.

Lightning Fabric starts one process for each device of this machine, or joins those that torchrun or Slurm started.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import TimeoutExpired

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from torch import distributed

from nuclei.base.errors import InputError
from nuclei.base.parallel import end_with_parent
from nuclei.base.params import Train
from nuclei.network.segmenter import pick_device, pick_precision

WAIT_S = 3.0  # for another process to report an error first, or to end


def make_fabric(train: Train) -> Fabric:
    """Pick device, precision and number of processes; the processes start with `Fabric.launch`.

    Raises:
        InputError: there are fewer devices than asked for, torchrun or Slurm started another number of processes, the
            batch can not be divided among them, or the device can not train in this precision.
    """
    device = pick_device(train.device)
    precision = pick_precision(train.precision, device)
    if precision == "16-mixed" and device == "cpu":  # Fabric would train in bfloat16 instead
        fix = "set train.precision to bf16-mixed, 32-true or auto"
        raise InputError("16-mixed trains on a GPU only", got="a CPU", fix=fix)
    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(device)
    devices = (there or 1) if train.devices == "auto" else train.devices
    if there is not None and devices > there:
        raise InputError("there are not so many devices", got=f"train.devices {devices}", expected=f"at most {there}")
    processes = devices * train.nodes
    started = _started_processes() or processes
    if started != processes:
        raise InputError(
            "torchrun or Slurm started another number of processes than the parameters say",
            got=started,
            expected=f"train.devices ({devices}) x train.nodes ({train.nodes}) = {processes}",
        )
    if train.batch_size % processes:
        raise InputError(
            "the batch can not be divided among the processes",
            got=f"train.batch_size {train.batch_size}",
            expected=f"a multiple of {processes}, the number of processes",
        )
    # Fabric would log what run.js records, but how a process ended nothing else tells
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric.strategies.launchers.subprocess_script").setLevel(logging.INFO)
    return Fabric(
        accelerator=device,
        devices=devices,
        num_nodes=train.nodes,
        strategy="auto" if processes == 1 else "ddp",
        precision=precision,  # type: ignore[arg-type]
    )


def _started_processes() -> int | None:
    """How many processes torchrun or Slurm started, None without either."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment().world_size()
    return SLURMEnvironment().world_size() if SLURMEnvironment.detect() else None


@contextmanager
def together(fabric: Fabric) -> Iterator[None]:
    """Start the processes, and when one of them fails, end all of them with its error only.

    Inside, the processes may wait for each other. Where one has gone, the others get an error of the communication,
    which says nothing of the cause and is not shown.

    Raises:
        InputError: another process was killed.
        SystemExit: another process has shown its error.
    """
    fabric.launch()
    if fabric.local_rank > 0:
        end_with_parent()
    try:
        yield
    except Exception as error:
        if fabric.local_rank > 0:
            time.sleep(WAIT_S)  # if rank 0 has the same error, or has gone, this process ends meanwhile
        elif _is_of_communication(error):
            _raise_cause(fabric)
        raise
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _is_of_communication(error: Exception) -> bool:
    return isinstance(error, distributed.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _raise_cause(fabric: Fabric) -> None:
    """Exit if a process that this one started has failed and said why; raise InputError if one was killed."""
    watched = getattr(fabric.strategy.launcher, "procs", [])
    started = list(watched)
    watched.clear()  # Fabric looks at them every 5 s, and kills this process too when it finds that one has ended
    for process in started:
        try:
            if process.wait(WAIT_S) > 0:
                sys.exit(1)
        except TimeoutExpired:
            continue
    raise InputError(
        "another process of this training was killed",
        got=f"at the start {fabric.world_size} processes",
        fix="perhaps the memory was full: lower train.batch_size or train.keep_images_mb; then run it again, and it "
        "resumes after the last finished epoch",
    ) from None
