"""What a person asks of a store or a machine: plan, info, show, verify, doctor, sources. Nothing writes a store."""
