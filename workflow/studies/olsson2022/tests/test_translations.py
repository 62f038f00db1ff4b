"""Words and their translations: what is written, and heads that match them."""

import pytest
import torch

from reinduce.config.task_definition import read_task
from reinduce.metrics.heads import match_prefixes, repeat_offsets
from reinduce.metrics.inputs import EvaluationSets, select_diagonals
from reinduce.model.patterns import induction_pattern

PERIOD, MEANINGS = 9, 31
TASK = "olsson2022.synonyms"
METRICS = ("translation_prefix_matching", "translation_prefix_matching_shuffled")


def test_translations_keep_the_order_and_the_control_does_not(prepare):
    made, folder = prepare(TASK, {"vocab_size": 64, "n_ctx": 64}, {"repeat_length": PERIOD})
    assert [path.name for path in made.outputs][-2:] == ["translated.parquet", "translated_shuffled.parquet"]
    sets = EvaluationSets(folder, read_task(folder / "task.json"))
    translated, shuffled = sets["translated"].tokens, sets["translated_shuffled"].tokens
    assert translated.shape == shuffled.shape == (10, 1 + 2 * PERIOD)
    said, other = translated[:, 1 : 1 + PERIOD], translated[:, 1 + PERIOD :]
    assert torch.equal(other, said + MEANINGS) and said.min() > 0 and said.max() <= MEANINGS
    assert torch.equal(shuffled[:, : 1 + PERIOD], translated[:, : 1 + PERIOD])
    mixed = shuffled[:, 1 + PERIOD :]
    assert torch.equal(mixed.sort(dim=1).values, other.sort(dim=1).values)
    # By chance one in nine keeps its place.
    assert (mixed == other).double().mean() < 0.3
    assert "answers" not in sets
    assert sets["repeated"].tokens[:, 1:].max() <= MEANINGS, "no two words of one meaning"


def test_only_tasks_with_translations_have_their_scores(score):
    assert not set(METRICS) & set(score("repeated_phrases").of_heads)
    found = score(TASK).of_heads
    for metric in METRICS:
        assert len(found[metric]) == 2
        assert all(0 <= value < 0.5 for layer in found[metric] for value in layer)


def test_a_head_for_meanings_matches_translations_and_one_for_tokens_does_not():
    """Planted patterns on a list of words and its translation."""
    generator = torch.Generator().manual_seed(0)
    said = torch.stack([torch.randperm(63, generator=generator)[:25] + 1 for _ in range(6)])
    start = torch.zeros(6, 1, dtype=torch.int64)
    meanings, tokens = torch.cat((start, said, said), 1), torch.cat((start, said, said + 63), 1)
    for seen, expected in ((meanings, 1.0), (tokens, 0.0)):
        pattern = induction_pattern(seen)[:, None]
        weights = select_diagonals(pattern, repeat_offsets(25, 51))
        assert match_prefixes(weights, 25).item() == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("name", ["translated", "translated_shuffled"])
def test_the_score_is_the_attention_to_what_followed_the_same_meaning(score, name):
    """Against the definition spelt out, on the whole patterns of a plain pass."""
    found = score(TASK, evaluation={"repeat_length": PERIOD})
    tokens = found.sets[name].tokens
    names = [f"blocks.{layer}.attn.pattern" for layer in (0, 1)]
    _, cache = found.model(tokens, names=names)
    metric = METRICS[name == "translated_shuffled"]
    for layer, site in enumerate(names):
        attended = [cache[site][:, :, query, query - PERIOD + 1] for query in range(1 + PERIOD, 1 + 2 * PERIOD)]
        expected = torch.stack(attended).mean(dim=(0, 1))
        assert found.of_heads[metric][layer] == pytest.approx(expected.tolist(), abs=1e-6)
