"""What a task is made of: tasks from your own examples, lazy streams of tasks, and parts of the examples."""

from supermasks.data.build import make_task
from supermasks.data.chained import ChainedStream
from supermasks.data.grey import grey
from supermasks.data.joint import joint_task
from supermasks.data.lazy import Rest
from supermasks.data.limit import limited
from supermasks.data.mapped import MappedStream
from supermasks.data.permuted import PermutedStream
from supermasks.data.rgb import rgb
from supermasks.data.rotated import RotatedStream
from supermasks.data.sources import ImageSource, Normalisation
from supermasks.data.split import SplitStream
from supermasks.data.subset import reordered
from supermasks.data.validation import with_validation

__all__ = [
    "ChainedStream",
    "ImageSource",
    "MappedStream",
    "Normalisation",
    "PermutedStream",
    "Rest",
    "RotatedStream",
    "SplitStream",
    "grey",
    "joint_task",
    "limited",
    "make_task",
    "reordered",
    "rgb",
    "with_validation",
]
