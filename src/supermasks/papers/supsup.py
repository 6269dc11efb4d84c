"""Supermasks in Superposition (Wortsman et al., NeurIPS 2020): its tables and figures."""

from supermasks.papers import supsup_figures as figures
from supermasks.papers import supsup_tables as tables
from supermasks.papers.supsup_settings import NO_NUMBERS
from supermasks.papers.table import Paper, Table

SUPSUP = Paper(
    "supsup",
    "Supermasks in Superposition (Wortsman et al., 2020)",
    "SupSup",
    (
        Table("1", "The scenarios of continual learning", note=NO_NUMBERS),
        tables.TABLE_2,
        tables.TABLE_3,
        tables.TABLE_4,
        tables.TABLE_5,
        tables.TABLE_6,
        tables.TABLE_7,
        tables.TABLE_8,
        tables.TABLE_9,
        Table("figure-1", "A diagram of training and inference", note=NO_NUMBERS),
        figures.FIGURE_2,
        Table("figure-3", "PermutedMNIST against the number of tasks", see=("3", "4")),
        Table("figure-4", "PermutedMNIST to 2,500 tasks", see=("5",)),
        Table("figure-5", "RotatedMNIST (left); One-Shot for BatchE (right)", see=("6", "7")),
        Table("figure-6", "PermutedMNIST by the number of outputs", see=("8", "9")),
        figures.FIGURE_7,
        figures.FIGURE_8,
        Table("figure-9", "The scenarios as a tree", note=NO_NUMBERS),
        figures.FIGURE_10,
        figures.FIGURE_11,
    ),
)
