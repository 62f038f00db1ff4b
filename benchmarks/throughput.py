"""Training of a large model and of the five-token one, on a GPU if there is one.

`python -m benchmarks.throughput`: tokens a second and the share of the device's matrix-product
rate for twelve layers of width 768, steps a second for the five-token model; in float32 and
bfloat16, compiled and not. It needs torch and pyarrow alone.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.models import five_token_model
from reinduce.config.job_specs import CheckpointSpec, ModelSpec, TrainSpec
from reinduce.model.transformer import Transformer, training_losses
from reinduce.studies.singh2024.tasks.fewshot_classification import FewshotSpec, sequences
from reinduce.train.accumulator import GradientAccumulator
from reinduce.train.compiled import compiled_losses
from reinduce.train.optimizer import AdamW, learning_rate
from reinduce.train.processes import SINGLE_PROCESS

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    """Print a line for each setting, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results/throughput.json"))
    parser.add_argument("--batch", type=int, default=32, help="sequences a step of the large model")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that everything runs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    rows = []
    for row in itertools.chain(large(device, args.batch, args.small), five_tokens(device, args.small)):
        rows.append({"device": name, "torch": torch.__version__} | row)
        print("  ".join(f"{key} {value:.4g}" if isinstance(value, float) else str(value) for key, value in row.items()))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(rows, indent=2) + "\n")


def large(device: str, batch: int, small: bool) -> Iterator[dict]:
    """Twelve layers, 768 wide, with MLPs; contexts of 1,024 tokens."""
    layers, width, context, vocabulary = (2, 64, 32, 100) if small else (12, 768, 1024, 50257)
    model = ModelSpec(
        n_layers=layers, d_model=width, n_heads=max(4, width // 64), vocab_size=vocabulary, n_ctx=context, mlp_ratio=4.0
    )
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, vocabulary, (batch, context), generator=generator).to(device)
    for precision, fast in itertools.product(PRECISIONS, (False, True)):
        made = Transformer(model).init_weights(0)
        weights = sum(p.numel() for p in made.parameters()) - made.W_E.numel()
        seconds = seconds_a_step(made.to(device), tokens, precision, fast, steps=3 if small else 20)
        operations = batch * context * (6 * weights + 12 * layers * context * width / 2)
        yield {
            "what": f"{layers} layers, {width} wide, {precision}{', compiled' * fast}",
            "tokens_per_second": batch * context / seconds,
            "share_of_matmul_rate": operations / seconds / matmul_rate(device, precision, small),
        }


def five_tokens(device: str, small: bool) -> Iterator[dict]:
    """The five-token model, steps a second."""
    task = FewshotSpec(classes=10, features=32) if small else FewshotSpec()
    vectors = torch.rand(task.classes, task.features, generator=torch.Generator().manual_seed(1)).to(device)
    tokens = sequences(task, "in_distribution", 32, 0).to(device)
    for fast in (False, True):
        model = five_token_model(task, []).to(device).set_features(vectors)
        seconds = seconds_a_step(model, tokens, "float32", fast, steps=10 if small else 500)
        yield {"what": f"five tokens, float32{', compiled' * fast}", "steps_per_second": 1 / seconds}


def seconds_a_step(model: Transformer, tokens: Tensor, precision: str, fast: bool, steps: int) -> float:
    """Seconds of a training step as `reinduce train` takes it, without reading data, after a warm-up."""
    spec = TrainSpec(
        steps=steps,
        batch_size=len(tokens),
        learning_rate=1e-4,
        precision=precision,
        checkpoints=CheckpointSpec(every={0: 1}),
    )
    optim = AdamW(spec, model)
    loss_function = compiled_losses() if fast else training_losses
    accumulator = GradientAccumulator(spec, model, optim, loss_function, SINGLE_PROCESS)

    def run(count: int) -> float:
        finish(tokens.device)
        began = time.perf_counter()
        for step in range(count):
            gradient, _, _ = accumulator.accumulate(tokens, False)
            optim.step(gradient, learning_rate(spec, step))
        finish(tokens.device)
        return (time.perf_counter() - began) / count

    run(3)
    return run(steps)


def matmul_rate(device: str, precision: str, small: bool) -> float:
    """Operations a second of a large matrix product, the best of five."""
    side = 256 if small or device == "cpu" else 8192
    square = torch.randn(side, side, device=device, dtype=PRECISIONS[precision])
    took = []
    for _ in range(5):
        finish(square.device)
        began = time.perf_counter()
        square @ square
        finish(square.device)
        took.append(time.perf_counter() - began)
    return 2 * side**3 / min(took)


def finish(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
