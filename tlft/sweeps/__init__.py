"""Many runs: planned, launched, watched and summed up."""
