"""Learn from an endless stream of batches without task labels (SupSup, Section 3.4)."""

from supermasks.streams.batch_stream import Batch, BatchStream, random_lengths
from supermasks.streams.consolidation import Dropped
from supermasks.streams.loss_jump import LossJump
from supermasks.streams.loss_trend import LossTrend
from supermasks.streams.novelty_rule import Judged, NoveltyRule, Scene
from supermasks.streams.stream_learner import Observed, StreamLearner
from supermasks.streams.uniform_evidence import UniformEvidence

__all__ = [
    "Batch",
    "BatchStream",
    "Dropped",
    "Judged",
    "LossJump",
    "LossTrend",
    "NoveltyRule",
    "Observed",
    "Scene",
    "StreamLearner",
    "UniformEvidence",
    "random_lengths",
]
