"""Which runs share a job, and which resources a job requests. Nothing here changes a number in the results."""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reinduce.config.arm_contents import estimate_core_seconds
from reinduce.config.job_specs import ArmSpec
from reinduce.config.layout import seed_folders
from reinduce.config.resolved import Run
from reinduce.config.user_config import Cluster

MAX_SHARED_SECONDS = 25
"""The most estimated seconds of trainings that share one process: starting a process takes seconds, queueing more."""
OPERATIONS_PER_SECOND = {"cpu": 1e10, "gpu": 1e13}
"""A low estimate of the training speed of one core and of one GPU."""


@dataclass(frozen=True)
class JobGroup:
    """Runs that share a job: all seeds of short arms, or one seed of a long arm."""

    name: str
    """'study/arm'; 'study/short<k>' for a group of several arms; 'study/arm/look<k>' for seeds of a later look."""
    runs: Mapping[str, Run]
    """'study/arm' → its arm and seeds; all of one study."""
    all_seeds: bool
    """True if one job runs all seeds; False if each seed has its own job."""

    def job_name(self, seed: str = "{seed}") -> str:
        """Return the name of a job in logs and messages: the group's, and the seed's if each seed has its own job."""
        return self.name if self.all_seeds else f"{self.name}/seed{seed}"

    def list_run_folders(self, results: str | Path) -> list[tuple["Run", Path]]:
        """List the run and the folder of each seed of a job.

        Args:
            results: the folder of all results.

        Returns:
            A run and a folder for each arm and seed. If each seed has its own job, the folder has the
            wildcard `{seed}` in place of the seed.
        """
        if not self.all_seeds:
            return [(run, Path(results, name, "seed{seed}")) for name, run in self.runs.items()]
        return [(run, folder) for name, run in self.runs.items() for folder in seed_folders(results, name, run.seeds)]

    def iterate_seeds(self, seed: int) -> Iterator[tuple[Run, int]]:
        """Yield each run of a job with each of its seeds; `seed` is the job's own, if it has only one."""
        for run in self.runs.values():
            yield from ((run, each) for each in (run.seeds if self.all_seeds else [seed]))

    def select_runs(self, is_selected: Callable[["Run"], bool]) -> "JobGroup | None":
        """Return the group with the selected runs only, or None if it has none of them."""
        runs = {name: run for name, run in self.runs.items() if is_selected(run)}
        return dataclasses.replace(self, runs=runs) if runs else None

    @property
    def core_seconds(self) -> int:
        """The estimated seconds that one job's trainings take on one core."""
        return sum(
            estimate_core_seconds(run.arm) * (len(run.seeds) if self.all_seeds else 1) for run in self.runs.values()
        )

    @property
    def study(self) -> str:
        """The study of all runs of the group."""
        return self.name.split("/")[0]

    @property
    def are_grafted(self) -> set[bool]:
        """Whether arms of the group start from a graft: {True}, {False}, or both."""
        return {run.arm.graft is not None for run in self.runs.values()}


def group_jobs(runs: Mapping[str, Run], cluster: Cluster) -> list[JobGroup]:
    """Divide all runs into groups whose runs share a job.

    Short arms of a study share a job as long as the job stays short. A grafted arm needs the checkpoints of another
    arm, so the two are never in one group. If trainings may use several GPUs or machines, an arm whose batches have
    several parts gets a job for each seed, and each job uses all GPUs; any other long arm gets one job for all seeds,
    and each GPU trains its own seeds. Seeds of later looks are never in one group with those of other arms, since a
    look may need one arm alone.

    Args:
        runs: 'study/arm' → the arm and its seeds.
        cluster: the limits on GPUs and machines of one training job.

    Returns:
        The groups of the first look's seeds, in the order of their first arms, each run in exactly one of them; then
        those of later looks, for arms of which a job trains several seeds.
    """
    groups: list[JobGroup] = []
    for name, run in runs.items():
        group = JobGroup(name, {name: run}, all_seeds=True)
        shares_batches = run.arm.train.grad_accum_steps > 1 and cluster.max_gpus_per_node * cluster.max_nodes > 1
        is_short = estimate_core_seconds(run.arm) <= MAX_SHARED_SECONDS and not shares_batches
        fitting = [index for index, other in enumerate(groups) if is_short and _may_share_job(other, group)]
        if fitting:
            other = groups[fitting[-1]]
            groups[fitting[-1]] = dataclasses.replace(other, runs={**other.runs, name: run})
        elif is_short or (cluster.max_gpus_per_node > 1 and not shares_batches):
            groups.append(group)
        else:
            groups.append(dataclasses.replace(group, all_seeds=False))
    later = [later for group in groups if group.all_seeds for later in _group_later_looks(group)]
    return [*_name_groups(groups), *later]


def _group_later_looks(group: JobGroup) -> Iterator[JobGroup]:
    for name, run in group.runs.items():
        for look, seeds in enumerate(run.further, start=2):
            yield JobGroup(
                f"{name}/look{look}", {name: dataclasses.replace(run, seeds=seeds, further=())}, all_seeds=True
            )


def count_processes(group: JobGroup, cluster: Cluster) -> int:
    """Count the processes of a training job on each machine: they share each batch, or each trains its own seeds."""
    run = next(iter(group.runs.values()))
    if not group.all_seeds:
        return _round_down_to_power_of_two(
            min(cluster.max_gpus_per_node, run.arm.train.grad_accum_steps // count_nodes(group, cluster))
        )
    return 1 if group.core_seconds <= MAX_SHARED_SECONDS else min(cluster.max_gpus_per_node, len(run.seeds))


def count_nodes(group: JobGroup, cluster: Cluster) -> int:
    """Count the machines of a training job: only a job whose processes share each batch uses several."""
    parts = 1 if group.all_seeds else next(iter(group.runs.values())).arm.train.grad_accum_steps
    return _round_down_to_power_of_two(min(cluster.max_nodes, parts // cluster.max_gpus_per_node))


def estimate_training_resources(group: JobGroup, cluster: Cluster) -> dict:
    """Estimate the resources of a training job.

    Args:
        group: the runs that share the job.
        cluster: what a job may request.

    Returns:
        Resource → value, named as Snakemake and its SLURM plugin name them. `mem_mb` and `runtime` (minutes) are
        functions of the attempt, because a job that ran out of memory or time gets twice as much at its next attempt.
    """
    processes, nodes = count_processes(group, cluster), count_nodes(group, cluster)
    device = "gpu" if cluster.device == "gpu" else "cpu"
    arms = [run.arm for run, _ in group.iterate_seeds(0)]
    seconds = sum(map(_estimate_operations, arms)) / (processes * nodes) / OPERATIONS_PER_SECOND[device]
    megabytes = 2000 + processes * max(map(_estimate_megabytes, arms))
    resources: dict[str, Any] = {"device": cluster.device, "processes": processes, "nodes": nodes}
    resources |= _double_each_attempt(cluster, megabytes, minutes=10 + 2 * seconds / 60)
    gpus = f"{cluster.gpu_type}:{processes}" if cluster.gpu_type else str(processes)
    if nodes > 1:
        # The plugin has no keys of its own for a number of GPUs and one task on each of several machines.
        gpus_per_node = f"--gpus-per-node={gpus} " if device == "gpu" else ""
        resources |= {"mpi": "srun", "tasks": nodes, "slurm_extra": f"{gpus_per_node}--ntasks-per-node=1"}
    elif device == "gpu":
        resources |= {"gpu": processes} | ({"gpu_model": cluster.gpu_type} if cluster.gpu_type else {})
    return resources | _choose_account_and_partition(cluster, device)


def resources_for(cluster: Cluster, megabytes: float, minutes: float) -> dict:
    """Return the resources of a job on one core.

    Args:
        cluster: what a job may request.
        megabytes: the memory of the first attempt.
        minutes: the time of the first attempt.

    Returns:
        Resource → value, as `estimate_training_resources` returns them.
    """
    return _double_each_attempt(cluster, megabytes, minutes) | _choose_account_and_partition(cluster, "cpu")


def _may_share_job(one: JobGroup, other: JobGroup) -> bool:
    return (
        one.all_seeds
        and one.study == other.study
        and one.are_grafted == other.are_grafted
        and one.core_seconds + other.core_seconds <= MAX_SHARED_SECONDS
    )


def _name_groups(groups: list[JobGroup]) -> list[JobGroup]:
    """Number the groups of several arms within their study."""
    numbers: dict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))
    return [
        dataclasses.replace(group, name=f"{group.study}/short{next(numbers[group.study])}")
        if len(group.runs) > 1
        else group
        for group in groups
    ]


def _round_down_to_power_of_two(number: int) -> int:
    return 1 << (max(1, number).bit_length() - 1)


def _double_each_attempt(cluster: Cluster, megabytes: float, minutes: float) -> dict:
    max_minutes = max(1, round(cluster.max_hours * 60))

    def mem_mb(wildcards, attempt: int) -> int:
        return round(megabytes) << (attempt - 1)

    def runtime(wildcards, attempt: int) -> int:
        return min(max(1, round(minutes * cluster.time_multiplier)) << (attempt - 1), max_minutes)

    return {"mem_mb": mem_mb, "runtime": runtime}


def _choose_account_and_partition(cluster: Cluster, device: str) -> dict:
    partition = (cluster.gpu_partition if device == "gpu" else None) or cluster.partition
    chosen = {"slurm_account": cluster.account, "slurm_partition": partition}
    return {name: value for name, value in chosen.items() if value}


def _count_parameters(arm: ArmSpec) -> float:
    model = arm.model
    block = (4 + 2 * model.mlp_ratio) * model.d_model**2
    return model.n_layers * block + 2 * model.vocab_size * model.d_model


def _estimate_operations(arm: ArmSpec) -> float:
    """Estimate the operations of a training: six for each parameter and token, and those of attention."""
    model = arm.model
    attention = 12 * model.n_layers * model.n_ctx * model.d_model
    return arm.train.steps * arm.train.batch_size * model.n_ctx * (6 * _count_parameters(arm) + attention)


def _estimate_megabytes(arm: ArmSpec) -> float:
    """Estimate the memory of a training process: weights, moments, gradients, kept activations and logits."""
    model = arm.model
    sequences = arm.train.batch_size / arm.train.grad_accum_steps
    kept = model.n_layers * model.d_model * (16 + 4 * model.mlp_ratio) + 4 * model.vocab_size
    return (24 * _count_parameters(arm) + 4 * sequences * model.n_ctx * kept) / 1e6
