"""Tests of the prompt language."""
