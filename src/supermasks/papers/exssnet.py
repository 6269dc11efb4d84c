"""Exclusive Supermask Subnetwork Training (Yadav and Bansal, ACL 2023 Findings): its tables and figures."""

from supermasks.papers import exssnet_figures as figures
from supermasks.papers import exssnet_images as images
from supermasks.papers import exssnet_texts as texts
from supermasks.papers.table import Paper, Table

NO_NUMBERS = "Nothing is measured."

EXSSNET = Paper(
    "exssnet",
    "Exclusive Supermask Subnetwork Training for Continual Learning (Yadav and Bansal, 2022)",
    "ExSSNeT",
    (
        texts.TABLE_1,
        images.TABLE_2,
        images.TABLE_3,
        images.TABLE_4,
        texts.TABLE_5,
        Table("6", "The sequences of text tasks", note="They are in `supermasks.experiments.sequences`."),
        Table("7", "The sizes of the sampled text data", note=NO_NUMBERS),
        images.TABLE_8,
        images.TABLE_9,
        images.TABLE_10,
        images.TABLE_11,
        images.TABLE_12,
        texts.TABLE_13,
        texts.TABLE_14,
        texts.TABLE_15,
        Table("figure-1", "A diagram of ExSSNeT", note=NO_NUMBERS),
        figures.FIGURE_2,
        figures.FIGURE_3,
        figures.FIGURE_4,
        figures.FIGURE_5,
        figures.FIGURE_6,
        Table("figure-7", "A diagram of SupSup", note=NO_NUMBERS),
    ),
)
