"""Pure functions that turn one organism into populations, and numbers into estimates."""
