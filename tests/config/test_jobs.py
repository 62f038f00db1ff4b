"""Which runs share a job, and what jobs ask for."""

import pytest

from reinduce.config import jobs
from reinduce.config.load import load
from reinduce.config.resolved import Run
from reinduce.config.specs import ArmSpec, CheckpointSpec, GraftSpec, ModelSpec, TrainSpec
from reinduce.config.tree import Cluster

LONG = {"d_model": 256, "steps": 1000}


def run(name="paper/a", seeds=3, graft=None, d_model=16, steps=10, parts=1) -> Run:
    study, arm = name.split("/")
    model = ModelSpec(layers=1, d_model=d_model, heads=1, vocabulary=50, context=64)
    train = TrainSpec(steps=steps, batch=16, learning_rate=1e-3, parts=parts, checkpoints=CheckpointSpec(every={0: 5}))
    return Run(ArmSpec(study=study, arm=arm, task="t", model=model, train=train, graft=graft), range(seeds))


def batched(cluster=None, **runs: dict) -> list[tuple]:
    """(name, arms, whether a job takes all seeds) of every batch; arms are named a, b, … or other__a."""
    named = {f"{name.replace('__', '/')}" if "__" in name else f"paper/{name}": spec for name, spec in runs.items()}
    made = jobs.batches({name: run(name, **spec) for name, spec in named.items()}, cluster or Cluster())
    return [(batch.name, [arm.split("/")[1] for arm in batch.runs], batch.whole) for batch in made]


def test_short_arms_of_a_study_share_a_job_as_long_as_that_is_short():
    few = {"seeds": 8}
    assert batched(a=few, b=few, c=few, other__a=few, d=few) == [
        ("paper/short1", ["a", "b", "c"], True),
        ("other/a", ["a"], True),
        ("paper/d", ["d"], True),
    ]


def test_long_arms_have_a_job_for_each_seed():
    assert batched(a={}, b=LONG, c={}) == [("paper/short1", ["a", "c"], True), ("paper/b", ["b"], False)]


def test_a_grafted_arm_is_not_in_a_job_with_the_arm_that_gives():
    grafted = {"graft": GraftSpec(arm="a", layer=0)}
    assert [arms for _, arms, _ in batched(a={}, b=grafted, c=grafted, d={})] == [["a", "d"], ["b", "c"]]


@pytest.mark.parametrize(
    ("spec", "cluster", "whole", "processes", "nodes"),
    [
        (LONG, {}, False, 1, 1),
        (LONG, {"devices": 4}, True, 3, 1),
        (LONG, {"devices": 2, "nodes": 2}, True, 2, 1),
        ({}, {"devices": 4}, True, 1, 1),
        (LONG | {"parts": 8}, {}, False, 1, 1),
        (LONG | {"parts": 8}, {"devices": 4}, False, 4, 1),
        (LONG | {"parts": 8}, {"devices": 3}, False, 2, 1),
        (LONG | {"parts": 8}, {"devices": 4, "nodes": 4}, False, 4, 2),
        (LONG | {"parts": 2}, {"devices": 4, "nodes": 4}, False, 2, 1),
        ({"parts": 2}, {"devices": 1, "nodes": 2}, False, 1, 2),
    ],
)
def test_devices_share_batches_that_have_parts_and_else_deal_out_seeds(spec, cluster, whole, processes, nodes):
    [batch] = jobs.batches({"paper/a": run(**spec)}, Cluster(**cluster))
    assert batch.whole == whole
    assert jobs.processes(batch, Cluster(**cluster)) == processes
    assert jobs.nodes(batch, Cluster(**cluster)) == nodes


def asked(spec=LONG, attempt=1, **cluster) -> dict:
    """What a training job asks for, functions of the attempt called."""
    [batch] = jobs.batches({"paper/a": run(**spec)}, Cluster(**cluster))
    found = jobs.training_needs(batch, Cluster(**cluster))
    return {name: value(None, attempt=attempt) if callable(value) else value for name, value in found.items()}


def test_gpu_jobs_ask_for_gpus_and_never_for_tasks():
    found = asked(device="gpu", devices=2, gpu_type="a100", account="us", partition="cpu", gpu_partition="fast")
    assert (found["gpu"], found["gpu_model"], found["processes"]) == (2, "a100", 2)
    assert (found["slurm_account"], found["slurm_partition"]) == ("us", "fast")
    assert not {"tasks", "mpi", "slurm_extra", "gres"} & set(found)
    assert not {"gpu", "gpu_model", "slurm_account"} & set(asked(device="cpu", gpu_type="a100"))


def test_several_machines_have_one_task_each():
    found = asked(LONG | {"parts": 8}, device="gpu", devices=4, nodes=2, gpu_type="a100")
    assert (found["nodes"], found["tasks"], found["mpi"]) == (2, 2, "srun")
    assert found["slurm_extra"] == "--gpus-per-node=a100:4 --ntasks-per-node=1"
    assert "gpu" not in found and "gpu_model" not in found


def test_each_try_has_twice_the_memory_and_time_up_to_the_longest():
    first, second, third = (asked(attempt=attempt, hours=1.0) for attempt in (1, 2, 3))
    assert second["mem_mb"] == 2 * first["mem_mb"] and third["mem_mb"] == 4 * first["mem_mb"]
    assert second["runtime"] == min(60, 2 * first["runtime"]) and asked(attempt=9, hours=1.0)["runtime"] == 60


def test_larger_arms_ask_for_more():
    small, wide, longer = asked(), asked(LONG | {"d_model": 1024}), asked(LONG | {"steps": 100_000})
    assert wide["mem_mb"] > small["mem_mb"] and wide["runtime"] > small["runtime"]
    assert longer["mem_mb"] == small["mem_mb"] and longer["runtime"] > small["runtime"]
    assert asked(slower=3.0)["runtime"] == pytest.approx(3 * small["runtime"], abs=2)


def test_the_cluster_scale_asks_for_gpus_and_config_yaml_has_the_last_word():
    assert load({"scale": "cluster"}).cluster == Cluster(device="gpu", devices=4)
    given = load({"scale": "cluster", "cluster": {"devices": 8, "account": "us"}}).cluster
    assert given == Cluster(device="gpu", devices=8, account="us")
