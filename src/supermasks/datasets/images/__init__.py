"""Data sets of images and the formats they come in."""
