"""Death and birth of neurons while a network learns, as pure transforms."""
