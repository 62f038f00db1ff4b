"""Models that several benchmarks train."""

from reinduce.config.job_specs import ModelSpec
from reinduce.model.transformer import Transformer
from reinduce.studies.singh2024.tasks.fewshot_classification import FewshotSpec


def five_token_model(task: FewshotSpec, clamps: list[dict]) -> Transformer:
    """Two layers of eight heads for sequences of exemplars, 64 wide, rotary positions."""
    spec = ModelSpec(
        n_layers=2,
        d_model=64,
        n_heads=8,
        vocab_size=task.vocab_size,
        n_ctx=task.n_ctx,
        d_features=task.features,
        unembedding_bias=True,
        initial="plain",
        positions="rotary",
        clamps=list(clamps),
    )
    return Transformer(spec).init_weights(0)
