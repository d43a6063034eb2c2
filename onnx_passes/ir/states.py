"""Names of a model's states in the graph: an input, and an output that is what becomes of it."""

STATE = "state."  # prefix of the inputs that `kv_in_place` makes
STATE_OUT = "state_out."  # of the outputs


def before(output: str) -> str:
    """The state that an output is written to."""
    return STATE + output.removeprefix(STATE_OUT)
