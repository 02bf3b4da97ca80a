"""What a call costs: sleepwalker with everything on, beside what people use without it."""
