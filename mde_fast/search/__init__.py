"""Hyper-parameter search, selected on validation alone: ``python -m mde_fast.search``. Needs the package Optuna."""
