"""Training: what `fit` does, and the bases of an agent that do it."""
