"""What an edit does to a run, in numbers: sums over parts of the examples are the numbers of all."""

import pytest
import torch
from reinduce.task.evaluation import Questions, in_context_score

from reinduce.ablate.command import Effects
from reinduce.config.metric_settings import MetricSettings


@pytest.fixture
def losses():
    return torch.rand(3, 6, 127, generator=torch.Generator().manual_seed(0)) * 4


@pytest.fixture
def effects(pairs):
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, 30, (6, 128), generator=generator)
    index = torch.randint(1, 128, (6,), generator=generator)
    direction = torch.randn(6, generator=generator)
    is_answer = torch.rand(6, 127, generator=generator) < 0.2
    return Effects(
        MetricSettings(icl_position_ranges=pairs, loss_slope_positions=(32, 120)),
        tokens,
        index,
        direction,
        [Questions("recall", is_answer, 0.1)],
    )


def test_parts_add_up(effects, losses):
    whole = effects.of(losses)
    parts = [effects.of(losses[:, rows], rows) for rows in (slice(0, 1), slice(1, 4), slice(4, 6))]
    assert torch.allclose(whole, sum(parts), atol=1e-12)
    assert whole.shape == (3, len(effects.metrics))


def test_each_metric_is_what_its_name_says(effects, losses, pairs):
    found = dict(zip(effects.metrics, effects.of(losses[:1])[0].tolist(), strict=True))
    one = losses[0].double()
    assert found["loss"] == pytest.approx(one.mean().item())
    assert found["icl_score"] == pytest.approx(in_context_score(losses[0], pairs[0]))
    asked = effects.questions[0]
    right = (-one[asked.is_answer]).exp().mean().item()
    assert found["skill:recall"] == pytest.approx((right - 0.1) / 0.9)
    assert {"icl_score_copyable", "icl_score_other", "before_after"} <= set(found)


def test_rows_say_what_is_not_measured(pairs):
    tokens = torch.arange(128).expand(2, -1)
    effects = Effects(
        MetricSettings(icl_position_ranges=pairs, loss_slope_positions=(32, 120)), tokens, torch.tensor([3, 4]), None
    )
    value = effects.of(torch.ones(1, 2, 127))[0]
    rows = {row["metric"]: row["value"] for row in effects.rows(value, value)}
    assert rows["before_after"] is None and rows["icl_score_copyable"] is None
    assert rows["loss"] == pytest.approx(1) and not any(name.startswith("skill") for name in rows)
