"""Tests of the hosts that are functions over a log."""
