"""Natural tasks of texts, recognised by statistics of their inputs. Not in the papers."""

from supermasks.experiments.architectures.text import KimCNN
from supermasks.experiments.evaluations import TaskInferred
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.presets.preset import Preset
from supermasks.experiments.tasks.text_sequence import TextTasks
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.masks import TopK
from supermasks.router import LinearDiscriminant, Trunk
from supermasks.training import Adam, Training

SUPSUP = Experiment(
    tasks=TextTasks(),
    net=KimCNN(),
    way=SupSupWay(rule=TopK(0.1)),
    training=Training(epochs=10, batch_size=32, optimiser=Adam(1e-3), schedule="cosine"),
    evaluation=TaskInferred(inference=LinearDiscriminant(features=Trunk())),
)

TEXT = Preset(
    "text", "Five data sets of texts over frozen token embeddings; the task of each text is inferred.", (SUPSUP,)
)
