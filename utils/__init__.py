"""Shared modules of the numbered scripts; one concept a module."""
