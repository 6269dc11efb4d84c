"""Data sets of texts, and what turns texts into numbers: tokens, word vectors, encoders."""
