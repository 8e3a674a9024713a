"""Every change of an instance's state."""
