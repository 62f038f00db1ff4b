"""Compare the tables and weights of two folders of results, made before and after names changed.

    python -m benchmarks.same_values BEFORE AFTER

Every table of BEFORE is read, its columns and values are renamed as below, and its rows are compared with
those of AFTER, sorted by all key columns. Digests of configurations differ, as their keys do.
"""

import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

TASKS = {
    "phrases": "repeated_phrases",
    "synonyms": "olsson2022.synonyms",
    "topics": "review2026.bigram_mixture",
    "suite": "review2026.icl_questions",
    "exemplars": "singh2024.fewshot_classification",
}
SETS = {"trained": "in_distribution", "relabelled": "relabelled", "new_classes": "novel_classes"}
METRICS = {
    "repeat_gain": "repeated_sequence_gain",
    "formation_step": "induction_onset_step",
    "window_share": "phase_change_fraction",
    "late_drift": "post_window_slope_ratio",
    "bump_step": "loss_bump_step",
    "bump_size": "loss_bump_size",
    "non_exponential": "log_loss_concavity",
    "non_exponential_if_matched": "log_loss_concavity_with_forced_match",
    "loss_if_matched": "loss_with_forced_match",
    "fuzzy_matching": "translation_prefix_matching",
    "fuzzy_matching_shuffled": "translation_prefix_matching_shuffled",
    "swap_copied": "context_swap:copied",
    "swap_inferred": "context_swap:inferred",
    "table_advantage_early": "topic_log_odds:early",
    "table_advantage_late": "topic_log_odds:late",
    "skill": "answer_probability",
}
COLUMNS = {"n": "n_items", "chosen": "selection"}
DOWNSTREAM = {
    "full": "recomputed",
    "pattern_preserving": "frozen_patterns",
    "value_preserving": "frozen_values",
    "pattern_and_value_preserving": "frozen_patterns_and_values",
}
IGNORED = ("config_digest",)


def rename_metric(name: str) -> str:
    """Return a metric's name of now."""
    base, _, suffix = name.partition(":")
    if suffix in SETS:
        base = {"loss": "query_loss", "accuracy": "query_accuracy"}.get(base, base)
        return f"{METRICS.get(base, base)}:{SETS[suffix]}"
    return METRICS.get(base, base) + (f":{suffix}" if suffix else "")


def rename(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a table of before under the names of now."""
    rows = rows.rename(columns=COLUMNS)
    if "edit" in rows:
        rows = rename_ablations(rows)
    if "metric" in rows:
        rows["metric"] = rows["metric"].map(rename_metric)
    if "task" in rows:
        rows["task"] = rows["task"].map(lambda name: TASKS.get(name, name))
    return rows


def rename_ablations(rows: pd.DataFrame) -> pd.DataFrame:
    """Return ablations with their edit as an intervention and what is downstream, and draws by what they count."""

    def split(edit: str) -> tuple[str, str]:
        for method in ("mean", "resample"):
            if edit.endswith(f"_{method}"):
                return method, DOWNSTREAM[edit.removesuffix(f"_{method}")]
        return ("zero", DOWNSTREAM[edit]) if edit in DOWNSTREAM else (edit, "recomputed")

    parts = [split(edit) for edit in rows.pop("edit")]
    draw = rows.pop("draw")
    rows["intervention"], rows["downstream"] = [part[0] for part in parts], [part[1] for part in parts]
    for column, selection in (("replicate", "random"), ("k", "strongest"), ("source_head", "wire")):
        rows[column] = draw.where(rows["selection"] == selection)
    return rows


def compare(before: Path, after: Path) -> tuple[int, float, str]:
    """Return rows, the largest difference of a value over the larger of 1 and the value, and what is wrong."""
    old, new = rename(pq.read_table(before).to_pandas()), pq.read_table(after).to_pandas()
    if set(old) != set(new):
        return len(old), np.inf, f"columns {sorted(set(old) ^ set(new))}"
    numbers = [
        name
        for name in new
        if new[name].dtype.kind == "f" and name not in ("layer", "head", "replicate", "k", "source_head")
    ]
    keys = [name for name in new if name not in (*numbers, *IGNORED)]
    old, new = (rows[[*keys, *numbers]].sort_values(keys, ignore_index=True) for rows in (old, new))
    if len(old) != len(new):
        return len(old), np.inf, f"{len(old)} rows before, {len(new)} after"
    if not old[keys].astype(str).equals(new[keys].astype(str)):
        differing = [name for name in keys if not old[name].astype(str).equals(new[name].astype(str))]
        return len(old), np.inf, f"keys differ: {differing}"
    worst = 0.0
    for name in numbers:
        one, other = old[name].to_numpy(float), new[name].to_numpy(float)
        if not (np.isnan(one) == np.isnan(other)).all():
            return len(old), np.inf, f"{name}: nulls differ"
        if len(one):
            worst = max(worst, float(np.nanmax(np.abs(one - other) / np.maximum(1, np.abs(one)), initial=0.0)))
    return len(old), worst, ""


def main(before: Path, after: Path) -> int:
    """Print what is the same; returns 1 if anything differs beyond the last digits."""
    kinds: dict[str, Counter] = {}
    worst: dict[str, float] = {}
    for path in sorted(before.glob("*/*/seed*/*/*.parquet")) + sorted(before.glob("*/series/*.parquet")):
        other = after / path.relative_to(before)
        other = other if other.is_file() else other.with_name(re.sub(r"^phrases", "repeated_phrases", path.name))
        kind = re.sub(r"step\d+", "scores", path.stem)
        counts = kinds.setdefault(kind, Counter())
        if not other.is_file():
            counts["missing"] += 1
            print(f"{path}: not made again")
            continue
        rows, gap, problem = compare(path, other)
        counts["files"] += 1
        counts["rows"] += rows
        counts["equal" if gap == 0 else "close" if gap < 1e-9 else "different"] += 1
        worst[kind] = max(worst.get(kind, 0.0), gap)
        if gap >= 1e-9:
            print(f"{path}: {problem or f'values differ by {gap:.2g}'}")
    for path in sorted(before.glob("*/*/seed*/train/checkpoints/*.safetensors")):
        counts = kinds.setdefault("weights", Counter())
        same = _weights(path) == _weights(after / path.relative_to(before))
        counts["files"] += 1
        counts["equal" if same else "different"] += 1
    for kind, counts in sorted(kinds.items()):
        print(f"{kind:20} {dict(counts)} largest difference {worst.get(kind, 0.0):.2g}")
    return int(any(counts["different"] + counts["missing"] for counts in kinds.values()))


def _weights(path: Path) -> bytes:
    """Return a checkpoint's numbers, without the header that names its arm."""
    content = path.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:3])))
