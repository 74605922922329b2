"""Networks: Keras layers, builders and distributions."""

from kerasrl.networks.action_distributions import (
    CategoricalActions,
    GaussianActions,
    action_distribution,
)
from kerasrl.networks.action_scale import ActionScale
from kerasrl.networks.bounds import clip_to_bounds
from kerasrl.networks.cloning import accept_nests, clone, twin
from kerasrl.networks.critic_multiplexer import CriticMultiplexer
from kerasrl.networks.dueling import DuelingHead
from kerasrl.networks.features import OneHot, observation_features
from kerasrl.networks.gaussian_head import GaussianHead
from kerasrl.networks.heads import DiscreteValuedHead, NearZeroInitializedDense
from kerasrl.networks.last_layer import last_layer_dtype
from kerasrl.networks.layer_norm_mlp import LayerNormMLP
from kerasrl.networks.mlp import MLP
from kerasrl.networks.nature_cnn import NatureCNN
from kerasrl.networks.noise import ClippedGaussian, OrnsteinUhlenbeck
from kerasrl.networks.observation_normalization import ObservationNormalization
from kerasrl.networks.pairing import all_layers
from kerasrl.networks.rescaling import ClipToSpec, RescaleToSpec, TanhToSpec
from kerasrl.networks.tanh_gaussian import (
    tanh_gaussian_distribution,
    tanh_gaussian_log_prob,
    tanh_gaussian_sample,
)
from kerasrl.networks.target import Target

__all__ = [
    "MLP",
    "ActionScale",
    "CategoricalActions",
    "ClipToSpec",
    "ClippedGaussian",
    "CriticMultiplexer",
    "DiscreteValuedHead",
    "DuelingHead",
    "GaussianActions",
    "GaussianHead",
    "LayerNormMLP",
    "NatureCNN",
    "NearZeroInitializedDense",
    "ObservationNormalization",
    "OneHot",
    "OrnsteinUhlenbeck",
    "RescaleToSpec",
    "TanhToSpec",
    "Target",
    "accept_nests",
    "action_distribution",
    "all_layers",
    "clip_to_bounds",
    "clone",
    "last_layer_dtype",
    "observation_features",
    "tanh_gaussian_distribution",
    "tanh_gaussian_log_prob",
    "tanh_gaussian_sample",
    "twin",
]
