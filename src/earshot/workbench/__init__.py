"""What no stage loads: reports, comparisons, experiments, plans and checks."""
