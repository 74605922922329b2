"""Actors: acting in environments and writing down what happens, apart from any learning."""

from kerasrl.actors.actor import Actor, Drained, Observer

__all__ = ["Actor", "Drained", "Observer"]
