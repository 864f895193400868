"""What a run is asked to do: the schema, its composition by Hydra, and what makes it valid."""
