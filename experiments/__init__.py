"""Studies: the one place where the sciences, the lab and the shell meet."""
