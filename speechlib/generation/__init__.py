"""Generation: one file per model that speaks step by step, and siblings for its fast paths."""
