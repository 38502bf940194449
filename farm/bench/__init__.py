"""Measurements behind `farm bench`. They print figures; nothing here is a test."""
