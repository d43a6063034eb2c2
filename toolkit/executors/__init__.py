"""Run a plan: Python here, the C++ runner here or on a phone, behind one interface."""
