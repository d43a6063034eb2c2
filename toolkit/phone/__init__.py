"""Phones by adb: what they are, their storage, their state."""
