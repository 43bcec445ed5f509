"""Coordinates to maps and back, without weights."""
