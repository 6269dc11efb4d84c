"""Recognise tasks by statistics of their inputs: evidence in closed form. One kind of features a file."""

from supermasks.router.auto import Auto
from supermasks.router.columns import Columns
from supermasks.router.feature_map import FeatureMap, Features
from supermasks.router.flat import Flat
from supermasks.router.fused import Fused
from supermasks.router.joined import Joined
from supermasks.router.linear_discriminant import LinearDiscriminant
from supermasks.router.patches import Patches
from supermasks.router.random_features import RandomFeatures
from supermasks.router.statistics import Statistics, collect, features_of
from supermasks.router.tokens import Tokens
from supermasks.router.trunk import Trunk
from supermasks.router.usual import Usual

__all__ = [
    "Auto",
    "Columns",
    "FeatureMap",
    "Features",
    "Flat",
    "Fused",
    "Joined",
    "LinearDiscriminant",
    "Patches",
    "RandomFeatures",
    "Statistics",
    "Tokens",
    "Trunk",
    "Usual",
    "collect",
    "features_of",
]
