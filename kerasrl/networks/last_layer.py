"""The precision of what a network puts out."""

import keras


def last_layer_dtype() -> str:
    """The dtype for the last layer of a network: float32 under a policy of mixed precision.

    Values and log-probabilities in float16 would be known to three digits only.
    """
    return keras.mixed_precision.global_policy().variable_dtype
