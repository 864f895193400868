"""Many runs: launched, watched and summed up."""
