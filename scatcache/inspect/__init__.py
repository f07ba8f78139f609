"""What a person asks of a store or a machine: plan, info, verify, doctor, sources. Nothing here writes."""
