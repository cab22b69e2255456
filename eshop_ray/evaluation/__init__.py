"""Predictions -> scores -> report."""
