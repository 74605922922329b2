"""What `Agent.export_policy` does."""

import os

import keras

from kerasrl import policies
from kerasrl.errors import AgentStateError
from kerasrl.training import building


def export_policy(
    agent: keras.Model,
    directory: str | os.PathLike[str],
    format: str,
    results: dict[str, float] | None,
) -> None:
    """Writes the agent's policy; see `Agent.export_policy`."""
    if not agent.built:
        raise AgentStateError(
            f"{type(agent).__name__} is not built, so that there is no policy to export. Call "
            "fit(env), or build(env) first."
        )
    if not policies.acts_by_networks(agent):
        raise AgentStateError(
            f"{type(agent).__name__} acts by the policy that its own make_policy returns, which is "
            "no function of its networks that could be exported. Save the agent, load it where it "
            "is to act, and call make_policy there."
        )
    functions = {"act": lambda *arguments: agent(*arguments)}
    if hasattr(agent, "sample"):
        functions["sample"] = agent.sample
    info = {
        "agent": type(agent).__name__,
        "env_steps": int(agent.env_steps.numpy()),
        "gradient_steps": int(agent.gradient_steps.numpy()),
        "results": results,
    }
    spec, state = building.built_spec(agent), agent.initial_state()
    policies.export_policy(directory, functions, spec, info, format, state)
