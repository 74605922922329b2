"""Suites of environments, and how they are registered with Gymnasium."""
