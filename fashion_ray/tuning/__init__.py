"""Hyperparameter search over the options of training: a space, the points to try, a ledger of trials, a leaderboard."""
