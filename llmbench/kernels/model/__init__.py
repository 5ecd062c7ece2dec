"""The model of a training step, a library on its own: decoder, checkpointing, its FLOPs, and text to train on."""

from llmbench.kernels.model.checkpointing import run_blocks, segments
from llmbench.kernels.model.config import PRESETS, ModelConfig, preset
from llmbench.kernels.model.corpus import Batch, Corpus
from llmbench.kernels.model.decoder import Attention, Decoder
from llmbench.kernels.model.flops import Parts, StepFlops, forward_flops, model_flops, step_flops
from llmbench.kernels.model.hugging_face import from_hugging_face

__all__ = [
    "PRESETS",
    "Attention",
    "Batch",
    "Corpus",
    "Decoder",
    "ModelConfig",
    "Parts",
    "StepFlops",
    "forward_flops",
    "from_hugging_face",
    "model_flops",
    "preset",
    "run_blocks",
    "segments",
    "step_flops",
]
