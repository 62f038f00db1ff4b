"""`make bench`: this project beside its peers, in one process, on the same weights and tokens.

Every row is a ratio of medians of CPU seconds on one thread, ours and the peer's taken in
turns, so that a noisy machine disturbs both alike. A peer that is too slow to do all of a
sweep does a part of it, and its time is scaled up; the row says so. Goals are this
project's own; a row that falls short is printed as one.

Shape suffixes: B batch, T position, H head, L layer.
"""

import argparse
import functools
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import peers
from benchmarks.five_tokens import five_tokens
from benchmarks.timing import TOLERANCE, best_batch, compared, in_turns
from reinduce.ablate.sweep import pairs_of_heads, single_heads
from reinduce.attribute.direct import direct_logit_attribution
from reinduce.attribute.paths import path_patching
from reinduce.cli import keep_freed_memory
from reinduce.config.job_specs import CheckpointSpec, ModelSpec, TrainSpec
from reinduce.metrics.inputs import attention_diagonals
from reinduce.model.ablation_values import collect_ablation_values
from reinduce.model.transformer import Transformer, token_losses
from reinduce.score.passes import run_pass
from reinduce.train.optimizer import AdamW

MANY = 32
"""Sequences a call with which the goal of the sweep over heads was set."""
COLUMNS = "{:<72}{:>8}{:>9}{:>8}{:>7}  {:<8}{:>7}  {}"


def main() -> None:
    """Run all rows, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks.json"))
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--usual-memory", action="store_true", help="give freed memory back, as Python does by itself")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.usual_memory:
        # As `reinduce` does at its start; the peers gain by it too.
        keep_freed_memory()
    print(COLUMNS.format("work: peer", "ours s", "peer s", "ratio", "goal", "", "differ", ""))
    rows = []
    with_and_without = (pairs, head_scores, attribution, paths)
    variants = [functools.partial(part, mlp=mlp) for part in with_and_without for mlp in (True, False)]
    parts: list[Callable[[bool], Iterator[dict]]] = [single_ablation, patterns_kept, *variants, training, five_tokens]
    for part in parts:
        for row in part(args.small):
            rows.append(row)
            print(line(row), flush=True)
    machine = {"cpu": cpu_name(), "cores": os.cpu_count(), "date": date.today().isoformat()}
    machine["keeps_freed_memory"] = not args.usual_memory
    machine |= {name: importlib.metadata.version(name) for name in ("torch", "transformer-lens", "transformers")}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    judged = [row["met"] for row in rows if row["met"] is not None]
    print(f"{sum(judged)} of {len(judged)} goals met; {', '.join(f'{k} {v}' for k, v in machine.items())}")
    short = [row["name"] for row in rows if row["met"] is False]
    if short:
        print(f"fell short: {'; '.join(short)}. What was tried: docs/benchmarks.md")
    print(f"written to {args.out}")


def line(row: dict) -> str:
    """A row of the table, as people read it."""
    wrong = row["difference"] is not None and row["difference"] >= TOLERANCE
    verdict = "DIFFERS" if wrong else {True: "met", False: "SHORT", None: ""}[row["met"]]
    shown = {
        "ours": "{:.3f}",
        "peer": "{:.3f}",
        "ratio": "{:.0%}" if row["peer"] is None else "{:.2f}",
        "goal": "{:.0%}" if row["peer"] is None else "{:g}",
        "difference": "{:.0e}",
    }
    texts = {name: "" if row[name] is None else form.format(row[name]) for name, form in shown.items()}
    return COLUMNS.format(
        row["name"],
        texts["ours"],
        texts["peer"],
        texts["ratio"],
        texts["goal"],
        verdict,
        texts["difference"],
        row["note"],
    ).rstrip()


def cpu_name() -> str:
    """Name of the processor's model."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    return next((text.split(":")[1].strip() for text in lines if text.startswith("model name")), platform.processor())


def a_model(small: bool, layers: int, mlp: bool = True) -> Transformer:
    """A random model of 8 heads a layer, 256 wide, for 256 tokens (or a tiny one)."""
    width, heads, vocabulary, context = (32, 4, 64, 32) if small else (256, 8, 512, 256)
    spec = ModelSpec(
        n_layers=layers,
        d_model=width,
        n_heads=heads,
        vocab_size=vocabulary,
        n_ctx=context,
        mlp_ratio=4.0 if mlp else 0.0,
        positions="learned",
    )
    return Transformer(spec).init_weights(0).eval().requires_grad_(False)


def some_tokens(model: Transformer, rows: int) -> Tensor:
    """Random sequences [rows T]."""
    shape = rows, model.spec.n_ctx
    return torch.randint(1, model.spec.vocab_size, shape, generator=torch.Generator().manual_seed(1))


def repeated_tokens(model: Transformer, rows: int) -> tuple[Tensor, int]:
    """A first token, then others repeated as often as the context holds; and how many these are."""
    period = (model.spec.n_ctx - 1) // 4
    once = some_tokens(model, rows)[:, : period + 1]
    return torch.cat((once, once[:, 1:].repeat(1, 3)), dim=1), period


def collected(found: Iterable, tokens_BT: Tensor) -> dict[Any, Tensor]:
    """A sweep's losses [B T-1] by what was ablated in each copy."""
    made: dict[Any, Tensor] = {}
    for rows, ablated, losses in found:
        for key, part in zip(ablated, losses, strict=True):
            made.setdefault(key, torch.empty(len(tokens_BT), tokens_BT.shape[1] - 1))[rows] = part
    return made


def worst(ours: Mapping[Any, Tensor], theirs: Mapping[Any, Tensor]) -> float:
    """Largest difference where the peer has a result."""
    return max((ours[key] - value).abs().max().item() for key, value in theirs.items())


def all_heads(model: Transformer) -> list[tuple[int, int]]:
    return [(layer, head) for layer in range(model.spec.n_layers) for head in range(model.spec.n_heads)]


def one_a_layer(model: Transformer) -> list[tuple[int, int]]:
    """Heads that stand for all: a peer's passes cost the same whatever the head."""
    return [(layer, layer % model.spec.n_heads) for layer in range(model.spec.n_layers)]


def kind_of(model: Transformer) -> str:
    return "" if model.spec.mlp_ratio else ", attention only"


def check_clean_losses(model: Transformer, tokens_BT: Tensor, theirs: dict[str, Tensor]) -> None:
    """Raise SystemExit unless the peers' losses without interventions equal ours."""
    ours = token_losses(model(tokens_BT)[0], tokens_BT)
    for name, losses in theirs.items():
        off = (ours - losses).abs().max().item()
        if off >= TOLERANCE:
            raise SystemExit(f"{name} is not the same model: clean losses differ by {off:.1e}")


@torch.no_grad()
def single_ablation(small: bool) -> Iterator[dict]:
    """Every head set to zero, one at a time; and how much of the processor's matmul rate that takes."""
    model = a_model(small, layers=6)
    tokens, part = some_tokens(model, 8), one_a_layer(model)
    lens, gpt2, width = peers.transformer_lens(model), peers.gpt2(model), model.spec.d_head
    plain = {"TransformerLens": peers.lens_losses(lens, tokens, [])}
    check_clean_losses(model, tokens, plain | {"GPT-2": token_losses(gpt2(input_ids=tokens).logits, tokens)})
    values = collect_ablation_values(model, tokens)

    many = tokens.repeat(MANY // len(tokens), 1)

    def by_lens(rows: int) -> dict:
        return {(head,): peers.lens_ablation(lens, tokens, [head], rows) for head in part}

    def by_gpt2(rows: int) -> dict:
        return {(head,): peers.gpt2_ablation(gpt2, tokens, head, width, rows) for head in part}

    best_lens = best_batch(lambda rows: peers.lens_ablation(lens, tokens, part[:1], rows))
    best_gpt2 = best_batch(lambda rows: peers.gpt2_ablation(gpt2, tokens, part[0], width, rows))
    side = 256 if small else 2048
    square = torch.randn(side, side)
    seconds, given = in_turns(
        {
            "ours": lambda: list(single_heads(model, tokens, values, ["zero"], ["recomputed"])),
            "lens, many": lambda: {(part[0],): peers.lens_ablation(lens, many, part[:1])[: len(tokens)]},
            "lens, best": lambda: by_lens(best_lens),
            "gpt2": lambda: by_gpt2(best_gpt2),
            "matmul": lambda: square @ square,
        }
    )
    ours = collected(((rows, heads, losses) for rows, _, heads, losses in given["ours"]), tokens)
    name, passes = "single heads, zero", len(ours)
    for peer, key, goal, batch, done in (
        ("TransformerLens", "lens, many", 8, MANY, MANY / len(tokens)),
        ("TransformerLens, its best batch", "lens, best", None, best_lens, len(part)),
        ("GPT-2, its best batch", "gpt2", 4, best_gpt2, len(part)),
    ):
        note = f"peer on {len(given[key])} of {passes} heads (scaled), {batch} sequences a call"
        seconds_of_all = seconds[key] * passes / done
        yield compared(f"{name}: {peer}", seconds["ours"], seconds_of_all, goal, worst(ours, given[key]), note)
    rate, needed = 2 * side**3 / seconds["matmul"], sweep_operations(model, *tokens.shape)
    share = needed / rate / seconds["ours"]
    note = f"{needed / 1e9:.0f} G operations, at {rate / 1e9:.0f} G/s (matmul of {side}) {needed / rate:.2f} s"
    yield {"name": f"{name}: share of the matmul rate", "ours": seconds["ours"], "peer": None, "ratio": share} | {
        "goal": 0.65,
        "met": share >= 0.65,
        "difference": None,
        "note": note,
    }


def sweep_operations(model: Transformer, batch: int, context: int) -> float:
    """Multiplications and additions of matrix products that a full sweep over heads needs.

    Attention to the future is not counted, though a fused kernel computes part of it.
    """
    spec = model.spec
    attention = 2 * 4 * spec.d_model**2 + 2 * 2 * spec.d_model * (context + 1) / 2
    mlp = 2 * 2 * spec.mlp_ratio * spec.d_model**2
    logits = 2 * spec.d_model * spec.vocab_size
    replaced = 2 * spec.d_head * spec.d_model
    copies = sum(replaced + mlp + above * (attention + mlp) + logits for above in range(spec.n_layers))
    return batch * context * (spec.n_layers * (attention + mlp) + spec.n_heads * copies)


@torch.no_grad()
def patterns_kept(small: bool) -> Iterator[dict]:
    """Every head set to zero, one at a time, all attention patterns frozen at their clean values."""
    model = a_model(small, layers=6)
    tokens, part = some_tokens(model, 8), one_a_layer(model)
    lens, values = peers.transformer_lens(model), collect_ablation_values(model, tokens)
    patterns = peers.lens_patterns(lens, tokens)
    seconds, given = in_turns(
        {
            "ours": lambda: list(single_heads(model, tokens, values, ["zero"], ["frozen_patterns"])),
            "patterns": lambda: peers.lens_patterns(lens, tokens),
            "lens": lambda: {(head,): peers.lens_pattern_preserving(lens, tokens, head, patterns) for head in part},
        }
    )
    ours = collected(((rows, heads, losses) for rows, _, heads, losses in given["ours"]), tokens)
    peer = seconds["patterns"] + seconds["lens"] * len(ours) / len(part)
    note = f"peer on {len(part)} of {len(ours)} heads (scaled)"
    difference = worst(ours, given["lens"])
    yield compared("single heads, patterns kept: TransformerLens", seconds["ours"], peer, 6, difference, note)


@torch.no_grad()
def pairs(small: bool, mlp: bool) -> Iterator[dict]:
    """Every two heads set to zero together, in two layers."""
    model = a_model(small, 2, mlp)
    tokens, heads = some_tokens(model, 4), all_heads(model)
    lens, values = peers.transformer_lens(model), collect_ablation_values(model, tokens)
    every = [(a, b) for i, a in enumerate(heads) for b in heads[i + 1 :]]
    part = every[::10]
    seconds, given = in_turns(
        {
            "ours": lambda: list(pairs_of_heads(model, tokens, values, ["zero"], ["recomputed"])),
            "lens": lambda: {pair: peers.lens_ablation(lens, tokens, list(pair)) for pair in part},
        }
    )
    ours = collected(((rows, both, losses) for rows, _, both, losses in given["ours"]), tokens)
    peer, note = seconds["lens"] * len(every) / len(part), f"peer on {len(part)} of {len(every)} pairs (scaled)"
    yield compared(
        f"all pairs, zero{kind_of(model)}: TransformerLens", seconds["ours"], peer, 6, worst(ours, given["lens"]), note
    )


@torch.no_grad()
def head_scores(small: bool, mlp: bool) -> Iterator[dict]:
    """Attention of all heads to three places, on repeated random tokens."""
    model = a_model(small, 6, mlp)
    tokens, period = repeated_tokens(model, 8)
    lens = peers.transformer_lens(model)

    def ours() -> Tensor:
        made, cache = [], run_pass(model, tokens, {"attention": None}).cache
        for layer in range(model.spec.n_layers):
            q, k, lse = (cache[f"blocks.{layer}.attn.{kind}"] for kind in ("q", "k", "lse"))
            previous, same, next_one = attention_diagonals(q, k, lse, [1, period, period - 1])
            # Queries that have a token to look back to; for the latter two those of the later repeats.
            counted = previous[..., 1:], same[..., 1 + period :], next_one[..., 1 + period :]
            made.append(torch.stack([weights_BHT.mean(dim=(0, 2)) for weights_BHT in counted]))
        return torch.stack(made)

    def by_lens(rows: int) -> Tensor:
        return peers.lens_head_scores(lens, tokens, period, rows)

    best = best_batch(by_lens)
    works = {"ours": ours, "lens": lambda: by_lens(len(tokens)), "lens, best": lambda: by_lens(best)}
    judged = [
        ("TransformerLens", "lens", 6, len(tokens)),
        ("TransformerLens, its best batch", "lens, best", None, best),
    ]
    if mlp:
        # GPT-2 has no form without MLPs.
        gpt2 = peers.gpt2(model, attention="eager")
        best_gpt2 = best_batch(lambda rows: peers.gpt2_head_scores(gpt2, tokens, period, rows))
        works["gpt2"] = lambda: peers.gpt2_head_scores(gpt2, tokens, period, best_gpt2)
        judged.append(("GPT-2, its best batch", "gpt2", 4, best_gpt2))
    seconds, given = in_turns(works, repeats=5)
    for peer, key, goal, batch in judged:
        difference, note = worst(given, {"ours": given[key]}), f"scores compared; {batch} sequences a call"
        yield compared(
            f"three head scores{kind_of(model)}: {peer}", seconds["ours"], seconds[key], goal, difference, note
        )


@torch.no_grad()
def attribution(small: bool, mlp: bool) -> Iterator[dict]:
    """Direct effects of all heads on the next token's logit, on repeated random tokens."""
    model = a_model(small, 6, mlp)
    tokens, period = repeated_tokens(model, 8)
    lens = peers.transformer_lens(model)

    def by_lens(rows: int) -> Tensor:
        return peers.lens_direct_logits(lens, tokens, period, rows)

    best = best_batch(by_lens, repeats=1)
    seconds, given = in_turns(
        {
            "ours": lambda: torch.stack([v.mean(dim=(0, 1)) for v in direct_logit_attribution(model, tokens, period)]),
            "lens": lambda: by_lens(len(tokens)),
            "lens, best": lambda: by_lens(best),
        }
    )
    for peer, key, goal, batch in (
        ("TransformerLens", "lens", 20, len(tokens)),
        ("TransformerLens, its best batch", "lens, best", None, best),
    ):
        difference, note = worst(given, {"ours": given[key]}), f"attributions compared; {batch} sequences a call"
        yield compared(
            f"direct logit attribution{kind_of(model)}: {peer}", seconds["ours"], seconds[key], goal, difference, note
        )


@torch.no_grad()
def paths(small: bool, mlp: bool) -> Iterator[dict]:
    """Path patching: every head of the first layer to the queries of every later head."""
    model = a_model(small, 4, mlp)
    tokens, heads = some_tokens(model, 4), model.spec.n_heads
    lens, values = peers.transformer_lens(model), collect_ablation_values(model, tokens)
    mean_BTE = values.select("mean", 0, slice(None))[:, :, 1].expand(len(tokens), -1, -1)
    receivers = [head for head in all_heads(model) if head[0] > 0]
    part, source = receivers[::6], (0, 1)
    clean = peers.lens_clean(lens, tokens)
    seconds, given = in_turns(
        {
            "ours": lambda: list(path_patching(model, tokens, values, "mean", ["q"], [0])),
            "clean": lambda: peers.lens_clean(lens, tokens),
            "recorded": lambda: peers.lens_paths(lens, tokens, source, [], mean_BTE, clean),
            "lens": lambda: peers.lens_paths(lens, tokens, source, part, mean_BTE, clean),
        }
    )
    ours = collected(given["ours"], tokens)
    theirs = {(source, receiver, "q"): losses for receiver, losses in zip(part, given["lens"], strict=True)}
    per_receiver = (seconds["lens"] - seconds["recorded"]) / len(part)
    peer = seconds["clean"] + heads * (seconds["recorded"] + len(receivers) * per_receiver)
    note = f"peer on {len(part)} of {len(ours)} paths (scaled)"
    yield compared(
        f"path patching{kind_of(model)}: TransformerLens", seconds["ours"], peer, 12, worst(ours, theirs), note
    )


def training(small: bool) -> Iterator[dict]:
    """A training step against a plain loop, from the same weights, on the same tokens."""
    model = a_model(small, layers=2).requires_grad_(True).train()
    tokens, plain = some_tokens(model, 16), peers.plain_gpt(model)
    targets = F.pad(tokens[:, 1:], (0, 1), value=-1)
    spec = TrainSpec(
        steps=1, batch_size=16, learning_rate=1e-3, checkpoints=CheckpointSpec(every={0: 1}), grad_clip_norm=1.0
    )
    our_optimizer = AdamW(spec, model)
    gradient = torch.empty(our_optimizer.size)
    their_optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3, weight_decay=0.0)
    losses: dict[str, list[float]] = {"ours": [], "theirs": []}

    def ours() -> None:
        loss = token_losses(model(tokens)[0], tokens).mean()
        our_optimizer.step(our_optimizer.write_gradient(loss, gradient), spec.learning_rate)
        losses["ours"].append(loss.item())

    def theirs() -> None:
        loss = plain(tokens, targets)
        their_optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        their_optimizer.step()
        losses["theirs"].append(loss.item())

    seconds, _ = in_turns({"ours": ours, "theirs": theirs}, repeats=5)
    difference = max(abs(a - b) for a, b in zip(losses["ours"], losses["theirs"], strict=True))
    note = f"mean losses of {len(losses['ours'])} steps compared; {tokens.numel()} tokens a step"
    yield compared("training step: plain loop", seconds["ours"], seconds["theirs"], 1.7, difference, note)


if __name__ == "__main__":
    main()
