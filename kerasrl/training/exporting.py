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
    functions = {"act": lambda observation: agent(observation)}
    if hasattr(agent, "sample"):
        functions["sample"] = agent.sample
    info = {
        "agent": type(agent).__name__,
        "env_steps": int(agent.env_steps.numpy()),
        "gradient_steps": int(agent.gradient_steps.numpy()),
        "results": results,
    }
    policies.export_policy(directory, functions, building.built_spec(agent), info, format)
