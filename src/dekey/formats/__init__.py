"""Readers and writers of label files."""
