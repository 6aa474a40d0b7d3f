"""The parts that the lessons build by hand, in one tested library."""
