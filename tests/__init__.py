"""Tests: folders as the package's, plus kernel, truth, terminal and project; helpers are in `support`."""
