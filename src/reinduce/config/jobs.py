"""Which runs share a job, and what a job asks of a cluster. Nothing here changes a number."""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reinduce.config.layout import seed_folders
from reinduce.config.specs import ArmSpec

if TYPE_CHECKING:
    from reinduce.config.resolved import Run
    from reinduce.config.tree import Cluster

SHORT = 25
"""Seconds, roughly: shorter trainings share a process, as starting one takes seconds and queueing more."""
RATE = {"cpu": 1e10, "gpu": 1e13}
"""Operations a second that a core, or a GPU, surely reaches in training."""


def cost(arm: ArmSpec) -> int:
    """Roughly how many seconds of one core a training of a small model takes."""
    model = arm.model
    width = model.layers * model.d_model * (4 + 2 * model.mlp_ratio) + model.vocabulary
    return round(arm.train.steps * arm.train.batch * model.context * model.d_model * width / 1e9) + 1


@dataclass(frozen=True)
class Batch:
    """What one job takes: all seeds of short arms, or one seed of a long one."""

    name: str
    """'study/arm'; 'study/short<k>' where it has several arms."""
    runs: Mapping[str, "Run"]
    """'study/arm' → its arm and seeds; all of one study."""
    whole: bool
    """Whether a job takes all seeds; else there is one for each."""

    def folders(self, results: str | Path) -> list[Path]:
        """Folders of all seeds of a job; with a wildcard for the seed where there is a job for each."""
        if self.whole:
            return [folder for name, run in self.runs.items() for folder in seed_folders(results, name, run.seeds)]
        return [Path(results, name, "seed{seed}") for name in self.runs]

    def each(self, seed: int | None) -> Iterator[tuple["Run", int]]:
        """Every arm and seed of a job; `seed`: that of a job which takes one."""
        for run in self.runs.values():
            yield from ((run, one) for one in (run.seeds if self.whole else [seed]))

    def only(self, has: Callable[["Run"], bool]) -> "Batch | None":
        """The same without arms that have no use for a stage; None where no arm is left."""
        runs = {name: run for name, run in self.runs.items() if has(run)}
        return dataclasses.replace(self, runs=runs) if runs else None

    @property
    def cost(self) -> int:
        """Seconds of one core, roughly, that training takes."""
        return sum(cost(run.arm) * (len(run.seeds) if self.whole else 1) for run in self.runs.values())


def batches(runs: Mapping[str, "Run"], cluster: "Cluster") -> list[Batch]:
    """All runs, each in one batch.

    Short ones go together, as long as that stays short. A grafted arm waits for the arm that
    gives, and is not in one batch with it. Where there are devices to share, an arm whose
    batches have parts has a job for each seed, on all devices; of another one, if it is not
    short, all seeds are one job, and each device takes its own.
    """
    made: list[Batch] = []
    for name, run in runs.items():
        whole = Batch(name, {name: run}, whole=True)
        shared = run.arm.train.parts > 1 and cluster.devices * cluster.nodes > 1
        short = cost(run.arm) <= SHORT and not shared
        fits = [one for one in made if short and _together(one, whole)]
        if fits:
            made[made.index(fits[-1])] = dataclasses.replace(fits[-1], runs={**fits[-1].runs, name: run})
        elif short or (cluster.devices > 1 and not shared):
            made.append(whole)
        else:
            made.append(dataclasses.replace(whole, whole=False))
    numbers: dict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))
    return [
        dataclasses.replace(batch, name=f"{_study(batch)}/short{next(numbers[_study(batch)])}")
        if len(batch.runs) > 1
        else batch
        for batch in made
    ]


def _study(batch: Batch) -> str:
    return batch.name.split("/")[0]


def _together(one: Batch, other: Batch) -> bool:
    grafted = [{run.arm.graft is not None for run in batch.runs.values()} for batch in (one, other)]
    return one.whole and _study(one) == _study(other) and grafted[0] == grafted[1] and one.cost + other.cost <= SHORT


def processes(batch: Batch, cluster: "Cluster") -> int:
    """How many processes a training job has on each machine: they share a batch's parts, or deal out the seeds."""
    run = next(iter(batch.runs.values()))
    if not batch.whole:
        return _power_below(min(cluster.devices, run.arm.train.parts // nodes(batch, cluster)))
    return 1 if batch.cost <= SHORT else min(cluster.devices, len(run.seeds))


def nodes(batch: Batch, cluster: "Cluster") -> int:
    """Over how many machines a training job goes: only one that shares each batch goes over several."""
    parts = 1 if batch.whole else next(iter(batch.runs.values())).arm.train.parts
    return _power_below(min(cluster.nodes, parts // cluster.devices))


def _power_below(number: int) -> int:
    return 1 << (max(1, number).bit_length() - 1)


def training_needs(batch: Batch, cluster: "Cluster") -> dict:
    """Resources of a training job, as Snakemake and its SLURM plugin name them.

    Memory and time are functions of the attempt: a job that ran out of one gets twice as
    much the next time.
    """
    local, machines = processes(batch, cluster), nodes(batch, cluster)
    kind = "gpu" if cluster.device == "gpu" else "cpu"
    arms = [run.arm for run, _ in batch.each(0)]
    seconds = sum(map(_operations, arms)) / (local * machines) / RATE[kind]
    memory = 2000 + local * max(map(_megabytes, arms))
    needs = {"device": cluster.device, "processes": local, "nodes": machines}
    needs |= _rungs(cluster, memory, minutes=10 + 2 * seconds / 60)
    asked = f"{cluster.gpu_type}:{local}" if cluster.gpu_type else str(local)
    if machines > 1:
        # The plugin's own keys cannot say: so many GPUs and one task on each of several machines.
        each = f"--gpus-per-node={asked} " if kind == "gpu" else ""
        needs |= {"mpi": "srun", "tasks": machines, "slurm_extra": f"{each}--ntasks-per-node=1"}
    elif kind == "gpu":
        needs |= {"gpu": local} | ({"gpu_model": cluster.gpu_type} if cluster.gpu_type else {})
    return needs | _where(cluster, kind)


def needs(cluster: "Cluster", megabytes: int, minutes: float) -> dict:
    """Resources of a job on one core."""
    return _rungs(cluster, megabytes, minutes) | _where(cluster, "cpu")


def _rungs(cluster: "Cluster", megabytes: float, minutes: float) -> dict:
    longest = max(1, round(cluster.hours * 60))

    def mem_mb(wildcards, attempt: int) -> int:
        return round(megabytes) << (attempt - 1)

    def runtime(wildcards, attempt: int) -> int:
        return min(max(1, round(minutes * cluster.slower)) << (attempt - 1), longest)

    return {"mem_mb": mem_mb, "runtime": runtime}


def _where(cluster: "Cluster", kind: str) -> dict:
    partition = (cluster.gpu_partition if kind == "gpu" else None) or cluster.partition
    found = {"slurm_account": cluster.account, "slurm_partition": partition}
    return {name: value for name, value in found.items() if value}


def _parameters(arm: ArmSpec) -> float:
    model = arm.model
    block = (4 + 2 * model.mlp_ratio) * model.d_model**2
    return model.layers * block + 2 * model.vocabulary * model.d_model


def _operations(arm: ArmSpec) -> float:
    """Of a training: six for each parameter and token, and what attention costs."""
    model = arm.model
    attention = 12 * model.layers * model.context * model.d_model
    return arm.train.steps * arm.train.batch * model.context * (6 * _parameters(arm) + attention)


def _megabytes(arm: ArmSpec) -> float:
    """Of a training process: weights, moments and gradients, what the backward pass keeps, logits."""
    model = arm.model
    sequences = arm.train.batch / arm.train.parts
    kept = model.layers * model.d_model * (16 + 4 * model.mlp_ratio) + 4 * model.vocabulary
    return (24 * _parameters(arm) + 4 * sequences * model.context * kept) / 1e6
