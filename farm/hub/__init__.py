"""Weights from elsewhere: where a source points to, and how its files come here whole."""
