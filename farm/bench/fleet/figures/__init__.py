"""What a run of a simulated fleet shows: its samples, what came of its work, what it cost, and what must hold."""
