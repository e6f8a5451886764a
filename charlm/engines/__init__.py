"""What runs a trained network: scores given tokens, steps to the next one."""
