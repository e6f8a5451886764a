"""Runs and their steps on disk."""
