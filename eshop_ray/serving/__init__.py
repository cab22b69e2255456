"""The guarded endpoint: keys, budgets, limits and errors before the deployment that holds the model."""
