import pytest
import tensorflow as tf

_MODES = {
    "eager": lambda function: function,
    "graph": tf.function,
    "xla": tf.function(jit_compile=True),
}


@pytest.fixture(params=_MODES)
def mode(request):
    """Wraps a callable so that it runs eagerly, in a graph, or compiled by XLA."""
    return _MODES[request.param]
