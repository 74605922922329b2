"""From an observation and an action to one vector, or to the value of a critic."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("kerasrl")
class CriticMultiplexer(keras.layers.Layer):
    """Computes `critic_network(concatenate(observation_network(o), action_network(a)))`.

    Observations and actions are cast to float, flattened but for their batch dimension and
    concatenated, observations first, the leaves of a nest in `tf.nest` order.

    Args:
        critic_network: Keras layer or model of float `[B, D]`; None leaves the vector as it is.
        action_network: Keras layer or model of the actions, before they are flattened, or None.
        observation_network: Keras layer or model of the nest of observations, likewise, or None.
    """

    def __init__(
        self,
        critic_network: keras.layers.Layer | None = None,
        action_network: keras.layers.Layer | None = None,
        observation_network: keras.layers.Layer | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.critic_network = critic_network
        self.action_network = action_network
        self.observation_network = observation_network
        self.flatten = keras.layers.Flatten(dtype=self.dtype_policy)

    def call(self, inputs: Any) -> tf.Tensor:
        """Maps `[observation, action]`, nests of tensors `[B, ...]`, to one tensor."""
        observation, action = inputs
        if self.observation_network is not None:
            observation = self.observation_network(observation)
        if self.action_network is not None:
            action = self.action_network(action)
        leaves = [*tf.nest.flatten(observation), *tf.nest.flatten(action)]
        vectors = [self.flatten(tf.cast(leaf, self.compute_dtype)) for leaf in leaves]
        joint = tf.concat(vectors, axis=-1)
        return joint if self.critic_network is None else self.critic_network(joint)

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Does nothing: its networks are built when it is called."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, networks serialized."""
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "critic_network": serialize(self.critic_network),
            "action_network": serialize(self.action_network),
            "observation_network": serialize(self.observation_network),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "CriticMultiplexer":
        """Makes a layer of what `get_config` gave."""
        names = ("critic_network", "action_network", "observation_network")
        networks = {name: keras.saving.deserialize_keras_object(config[name]) for name in names}
        return cls(**(config | networks))
