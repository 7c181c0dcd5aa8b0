"""Everything that Byway sends of its own accord."""
