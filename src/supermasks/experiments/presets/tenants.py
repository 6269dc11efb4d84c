"""A thousand tasks over one network, recognised by 900 bytes a class. Not in the papers."""

from supermasks.experiments.architectures.fully_connected import LeNet300
from supermasks.experiments.evaluations import TaskInferred
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.presets.preset import Preset
from supermasks.experiments.tasks.tenants import Tenants
from supermasks.experiments.ways.supsup import SupSupWay
from supermasks.masks import Threshold
from supermasks.router import LinearDiscriminant, RandomFeatures
from supermasks.training import Adam, Training

SUPSUP = Experiment(
    tasks=Tenants(),
    net=LeNet300(),
    way=SupSupWay(rule=Threshold()),
    training=Training(steps=200, batch_size=128, optimiser=Adam(3e-3), schedule="cosine"),
    evaluation=TaskInferred(inference=LinearDiscriminant(features=RandomFeatures(900), bits=8), checkpoint_images=200),
)

TENANTS = Preset(
    "tenants", "A thousand tasks of sketches and of turned or permuted images; the task is inferred.", (SUPSUP,)
)
