"""Violations to plant in what is left of a true day: each changes one fact, and the accounts that follow from it.

A plant takes the world and returns words that the counter-example must hold.
"""

from tests.system.planting import decided, kept, waited
from tests.system.planting.world import PLANTS, Plant, World

__all__ = ["PLANTS", "Plant", "World", "decided", "kept", "waited"]
