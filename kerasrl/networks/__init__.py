"""Networks: Keras layers, builders and distributions."""

from kerasrl.networks.cloning import clone, twin
from kerasrl.networks.dueling import DuelingHead
from kerasrl.networks.features import OneHot, observation_features
from kerasrl.networks.mlp import MLP
from kerasrl.networks.tanh_gaussian import tanh_gaussian_log_prob, tanh_gaussian_sample
from kerasrl.networks.target import Target

__all__ = [
    "MLP",
    "DuelingHead",
    "OneHot",
    "Target",
    "clone",
    "observation_features",
    "tanh_gaussian_log_prob",
    "tanh_gaussian_sample",
    "twin",
]
