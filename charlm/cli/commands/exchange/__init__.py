"""Commands that write and read files of other programs."""
