"""The engine without a model, for tests of all that is not the model, at any size."""
