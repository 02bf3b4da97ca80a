"""The parts of a policy, one file each: fields with their default, bounds, unit and reason."""
