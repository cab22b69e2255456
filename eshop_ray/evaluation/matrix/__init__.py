"""Every model, strategy and training size on every task of a shop: cells, their scores and costs, and what to take."""
