"""Distributions of TensorFlow Probability over the actions of a space, in its units.

Samples have the shape and the dtype of the space. An action that is drawn may be given to
`log_prob`, and `tfp.distributions.kl_divergence` takes two of a kind over equal spaces. All of it
works eagerly, in a graph and under XLA; `sample(seed=...)` takes what TensorFlow Probability takes,
among others the two integers of TensorFlow's stateless random numbers.

`CategoricalActions.distribution`, `GaussianActions.distribution` and `tanh_gaussian_distribution`
make them, and import this package when they are first called.
"""

from kerasrl.networks.distributions.categoricals import Categoricals
from kerasrl.networks.distributions.gaussians import ScaledGaussian, SquashedGaussian

__all__ = ["Categoricals", "ScaledGaussian", "SquashedGaussian"]
