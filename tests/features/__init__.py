"""Tests of features, a folder each: of the feature and the core alone."""
