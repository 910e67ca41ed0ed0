"""A reasoner with a latent thought and a verification whose error is measured."""
