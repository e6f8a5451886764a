"""The texts of a training: read, held out, and made into ids."""
