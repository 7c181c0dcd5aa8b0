"""Tests of the whole product: each needs several features at once."""
