"""From a question and its evidence to a distribution over 0-100; knows no engine."""
