"""What an edit does to a run, in numbers: sums over parts of the examples are the numbers of all."""

import pytest
import torch

from reinduce.ablate.effects import AblationMetrics
from reinduce.config.declare import Metric, Tolerance
from reinduce.config.find import find_all
from reinduce.config.metric_settings import MetricSettings
from reinduce.metrics.losses import score_in_context

KIND = "recall"
CHANCE = 0.1


class Examples:
    """Held-out documents with their indices, in memory."""

    def __init__(self, tokens, index):
        self.tokens, self._columns = tokens, {"loss_index": index}

    def column(self, name):
        return self._columns[name]


@pytest.fixture
def losses():
    return torch.rand(3, 6, 127, generator=torch.Generator().manual_seed(0)) * 4


@pytest.fixture
def is_answer():
    return torch.rand(6, 127, generator=torch.Generator().manual_seed(2)) < 0.2


def rescaled(losses, is_answer):
    """How probable right answers are, from 0 for chance to 1, summed over answers [C]."""
    return (((-losses[..., is_answer].double()).exp() - CHANCE) / (1 - CHANCE)).sum(dim=1)


@pytest.fixture
def answers(is_answer):
    """A metric that is no mean of losses: its summand says what some documents contribute."""

    def summand(losses_CBT1, sets, documents, rows):
        assert documents == slice(0, 6) and "heldout" in sets
        return {KIND: rescaled(losses_CBT1, is_answer[rows]) / is_answer.sum()}

    return Metric(
        name="answers",
        level="model",
        compute=lambda inputs: None,
        description="",
        tolerance=Tolerance(reason="planted"),
        summand=summand,
        version=4,
    )


@pytest.fixture
def effects(pairs, answers):
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, 30, (6, 128), generator=generator)
    index = torch.randint(1, 128, (6,), generator=generator)
    direction = torch.randn(6, generator=generator)
    settings = MetricSettings(icl_position_ranges=pairs, loss_slope_positions=(32, 120))
    metrics = find_all("metric") | {"answers": answers}
    return AblationMetrics(metrics, {"heldout": Examples(tokens, index)}, settings, slice(0, 6), direction)


def by_name(effects, losses, rows=slice(None)):
    """Each metric's contribution of some documents [C]."""
    found = effects.measure(losses, rows)
    return dict(zip(effects.names, found.unbind(1), strict=True))


def test_parts_add_up(effects, losses):
    whole = by_name(effects, losses)
    parts = [by_name(effects, losses[:, rows], rows) for rows in (slice(0, 1), slice(1, 4), slice(4, 6))]
    for name, value in whole.items():
        assert torch.allclose(value, sum(part[name] for part in parts), atol=1e-12)
        assert value.shape == (3,)
    assert set(whole) == {*effects.weighted, f"answers:{KIND}"}


def test_each_metric_is_what_its_name_says(effects, losses, is_answer, pairs):
    found = {name: value.item() for name, value in by_name(effects, losses[:1]).items()}
    one = losses[0].double()
    assert found["loss"] == pytest.approx(one.mean().item())
    assert found["icl_score"] == pytest.approx(score_in_context(losses[0], pairs[0]))
    right = (-one[is_answer]).exp().mean().item()
    assert found[f"answers:{KIND}"] == pytest.approx((right - 0.1) / 0.9)
    assert {"icl_score_copyable", "icl_score_other", "before_after"} <= set(found)


def test_before_and_after_is_the_change_along_the_direction(effects, losses):
    """Each document's loss at its own index, times its entry of the direction, summed."""
    index = effects.sets["heldout"].column("loss_index")
    generator = torch.Generator().manual_seed(1)
    torch.randint(1, 30, (6, 128), generator=generator)
    torch.randint(1, 128, (6,), generator=generator)
    direction = torch.randn(6, generator=generator).double()
    at_index = losses[0].double().gather(1, index[:, None] - 1)[:, 0]
    assert by_name(effects, losses[:1])["before_after"].item() == pytest.approx((direction @ at_index).item())


def test_rows_say_what_is_not_measured(pairs):
    tokens = torch.arange(128).expand(2, -1)
    sets = {"heldout": Examples(tokens, torch.tensor([3, 4]))}
    settings = MetricSettings(icl_position_ranges=pairs, loss_slope_positions=(32, 120))
    effects = AblationMetrics(find_all("metric"), sets, settings, slice(0, 2), None)
    [value] = effects.measure(torch.ones(1, 2, 127))
    rows = {row["metric"]: row["value"] for row in effects.rows(value, value)}
    assert rows["before_after"] is None and rows["icl_score_copyable"] is None
    assert rows["loss"] == pytest.approx(1) and not any(name.startswith("answers") for name in rows)


def test_rows_carry_versions_baselines_and_the_number_of_documents(effects, losses):
    values = effects.measure(losses)
    rows = {row["metric"]: row for row in effects.rows(values[0], values[1])}
    value, baseline = (dict(zip(effects.names, values[copy].tolist(), strict=True)) for copy in (0, 1))
    assert set(rows) == set(effects.names)
    assert rows[f"answers:{KIND}"]["metric_version"] == 4 and rows["loss"]["metric_version"] == 1
    assert {row["n_items"] for row in rows.values()} == {6}
    assert (rows["loss"]["value"], rows["loss"]["baseline"]) == (value["loss"], baseline["loss"])
    # A change has nothing to be compared with but nothing.
    assert rows["before_after"]["value"] == value["before_after"] - baseline["before_after"]
    assert rows["before_after"]["baseline"] == 0


def test_a_choice_of_metrics_without_losses_measures_what_there_is(pairs, answers):
    sets = {"heldout": Examples(torch.randint(1, 30, (6, 128)), torch.arange(1, 7))}
    settings = MetricSettings(icl_position_ranges=pairs, loss_slope_positions=(32, 120))
    effects = AblationMetrics({"answers": answers}, sets, settings, slice(0, 6), None)
    assert effects.weighted == [] and effects.unmeasured == ["before_after"]
    assert set(by_name(effects, torch.ones(2, 6, 127))) == {f"answers:{KIND}"}
