"""Bytes on disk, whole or not at all: files, images, workbooks, sample folders."""
