"""Ways to get the files of a data set or a model."""
