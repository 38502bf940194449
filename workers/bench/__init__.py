"""What `farm bench` measures against: a bare loop of pipeline calls, and a checkpoint of random weights."""
