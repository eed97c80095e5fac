"""Which column of a visit report is which: found in what landed, where no setting says it."""
