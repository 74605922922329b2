"""Actors: acting in environments and writing down what happens, apart from any learning."""

from kerasrl.actors.actor import Actor, Drained, Observer
from kerasrl.actors.background import Background, Held

__all__ = ["Actor", "Background", "Drained", "Held", "Observer"]
