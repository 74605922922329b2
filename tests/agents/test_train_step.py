"""What holds for the training step of every agent."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.callbacks import TargetUpdate

KINDS = ("dqn", "sac", "ddpg", "td3", "d4pg")
COMPILED = {"eager": {"run_eagerly": True}, "graph": {}, "xla": {"jit_compile": True}}
HOST_OPS = ("PyFunc", "HostCall", "HostCompute", "OutsideCompilation", "Print", "Infeed", "Outfeed")


def weights_of(agent):
    """Every weight but the seed of the noise, by name; targets included."""
    return {f"{i} {w.name}": w.numpy() for i, w in enumerate(agent.weights)}


def sources_and_targets(agent):
    names = {"target_network": "q_network", "target_critic": "critic", "target_actor": "actor"}
    return [(getattr(agent, names[target.name]), target.network) for target in agent.targets]


def assert_same_weights(agents, atol):
    first, *others = map(weights_of, agents)
    for other in others:
        for (name, value), other_value in zip(first.items(), other.values(), strict=True):
            np.testing.assert_allclose(other_value, value, atol=atol, err_msg=name)


@pytest.mark.fault(57)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.thorough
def test_the_same_weights_and_losses_in_every_mode(make_agent, batches, kind):
    agents = [make_agent(kind, compiled) for compiled in COMPILED.values()]
    losses = [
        agent.fit(batches(agent, count=3), verbose=0, callbacks=[TargetUpdate(2, 0.3)]).history
        for agent in agents
    ]
    for name in losses[0]:
        np.testing.assert_allclose([h[name] for h in losses], [losses[0][name]] * 3, rtol=1e-4)
    assert_same_weights(agents, atol=1e-5)


@pytest.mark.fault(57)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.thorough
def test_the_same_weights_whatever_steps_per_execution(make_agent, batches, kind):
    agents = [make_agent(kind, {"steps_per_execution": steps}) for steps in (1, 16)]
    for update in (TargetUpdate(period=3), TargetUpdate(period=1, step_size=0.005)):
        initial = weights_of(agents[0])
        for agent in agents:
            agent.fit(batches(agent, count=35), verbose=0, callbacks=[update])
            assert agent.targets
        assert_same_weights(agents, atol=1e-6)
        after = weights_of(agents[0])
        assert all((after[name] != initial[name]).any() for name in after if "kernel" in name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.table
def test_the_target_is_what_the_source_was_at_the_last_period(make_agent, batches, kind):
    agent = make_agent(kind)
    pairs = sources_and_targets(agent)
    sources, targets = zip(*pairs, strict=True)
    of_sources = [[source.get_weights() for source in sources]]
    of_targets = []

    def record(batch, logs):
        of_sources.append([source.get_weights() for source in sources])
        of_targets.append([target.get_weights() for target in targets])

    recorder = keras.callbacks.LambdaCallback(on_batch_end=record)
    agent.fit(batches(agent, count=7), verbose=0, callbacks=[TargetUpdate(period=3), recorder])
    for step, of_target in enumerate(of_targets, start=1):
        expected = of_sources[step - step % 3]
        for one, other in zip(sum(of_target, []), sum(expected, []), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.table
def test_no_gradient_reaches_a_target_network(make_agent, batches, kind, monkeypatch):
    agent = make_agent(kind, {"run_eagerly": True})
    variables = [v for _, target in sources_and_targets(agent) for v in target.variables]
    found = []

    def spy(loss, tape, _, optimizer):
        found.append(tape.gradient(loss, variables))
        optimizer.iterations.assign_add(1)

    monkeypatch.setattr(agent, "minimize", spy)
    before = [v.numpy() for v in variables]
    agent.fit(batches(agent, count=2), verbose=0, callbacks=[TargetUpdate(period=1_000)])
    assert len(found) == {"dqn": 2, "sac": 6, "ddpg": 4, "td3": 3, "d4pg": 4}[kind]
    assert all(gradient is None for gradients in found for gradient in gradients)
    for one, other in zip(variables, before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.table
def test_target_networks_are_not_trainable(make_agent, kind):
    agent = make_agent(kind)
    trainable = {id(v) for v in agent.trainable_variables}
    assert trainable
    assert not trainable & {id(v) for target in agent.targets for v in target.variables}


def all_ops(graph):
    functions = [graph.as_graph_def().library.function]
    yield from (
        (node.op, node.name) for library in functions for f in library for node in f.node_def
    )
    yield from ((node.op, node.name) for node in graph.as_graph_def().node)


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.table
def test_the_step_is_fit_for_a_tpu(make_agent, kind, seed):
    agent = make_agent(kind)
    spec = kerasrl.envs.EnvSpec(agent.observation_space, agent.action_space)
    with kerasrl.replay.Uniform(64) as replay:
        replay.open(kerasrl.replay.transition_spec(spec), seed)
        batch = replay.dataset(batch_size=16).element_spec
    for leaf in tf.nest.flatten(batch):
        assert leaf.shape.is_fully_defined()
        assert leaf.shape[0] == 16
    graph = tf.function(agent.train_step).get_concrete_function(batch).graph
    types = {op for op, _ in all_ops(graph)}
    assert "MatMul" in types
    assert not [op for op in types if any(word in op for word in HOST_OPS)]
    shapeless = [
        output.name
        for op in graph.get_operations()
        for output in op.outputs
        if output.dtype not in (tf.resource, tf.variant) and not output.shape.is_fully_defined()
    ]
    assert not shapeless


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("steps_per_execution", "most"), [(1, 1), ("auto", 2)])
@pytest.mark.table
def test_the_step_is_not_traced_again(
    make_agent, batches, kind, steps_per_execution, most, monkeypatch
):
    """Keras 2 traces the body of its loop over several steps a second time."""
    agent = make_agent(kind, {"steps_per_execution": steps_per_execution})
    traces = []
    original = type(agent).train_step
    monkeypatch.setattr(
        type(agent), "train_step", lambda self, data: traces.append(1) or original(self, data)
    )
    agent.fit(batches(agent, count=3), verbose=0)
    assert 1 <= len(traces) <= most
    traces.clear()
    agent.fit(batches(agent, count=3), verbose=0)
    assert not traces
