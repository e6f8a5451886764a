"""Training: what was asked, what was chosen, the steps, their saving and going on."""
