"""Models of counts alone: made in seconds, without torch."""
