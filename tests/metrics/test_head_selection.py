"""Which heads are ablated: read from scores, and matched by random others."""

from reinduce.metrics.head_selection import heads_above_threshold, heads_name, layer_matched_random_heads


def test_heads_are_chosen_by_their_scores():
    rows = [
        {"layer": layer, "head": head, "metric": metric, "value": value}
        for layer, head, metric, value in [
            (1, 1, "prefix_matching", 0.5),
            (1, 0, "prefix_matching", 0.3),
            (0, 0, "prefix_matching", 0.29),
            (0, 1, "previous_token", 0.9),
            (0, 2, "prefix_matching", None),
        ]
    ]
    assert heads_above_threshold(rows, "prefix_matching", 0.3) == [(1, 0), (1, 1)]


def test_random_heads_match_the_layers_as_far_as_these_reach():
    chosen = [(1, 0), (1, 1), (1, 2)]
    for seed in range(20):
        drawn = layer_matched_random_heads(chosen, 2, 4, seed)
        assert len(drawn) == 3 == len(set(drawn))
        assert not set(drawn) & set(chosen)
        assert (1, 3) in drawn
    assert layer_matched_random_heads(chosen, 2, 4, seed=5) == layer_matched_random_heads(chosen, 2, 4, seed=5)
    assert len({tuple(layer_matched_random_heads(chosen, 2, 4, seed)) for seed in range(20)}) > 1
    assert layer_matched_random_heads(chosen + [(0, 0), (0, 1)], 2, 4, seed=0) is None
    assert layer_matched_random_heads([], 2, 4, seed=0) is None


def test_heads_are_named_by_layer_and_number():
    assert heads_name([(0, 1), (1, 3)]) == "0.1+1.3" and heads_name([]) == ""
