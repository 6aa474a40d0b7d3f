"""The claims that lessons make of trained models, for three seeds: `-m seeds` runs them."""
