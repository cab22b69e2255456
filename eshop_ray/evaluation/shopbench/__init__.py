"""ShopBench, the benchmark of the Amazon KDD Cup 2024: types from prompts, strategies, submissions, budgets, scores."""
