"""Shared modules of the numbered scripts; one concept per module."""
