"""Taking weights in within the test's own process: starting another with torch takes seconds."""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from farm.weights.ingest import IngestedFile, IngestReport, IngestRequest
from workers.ingest.request import Request
from workers.ingest.run import ingest


def ingest_here(request: IngestRequest) -> IngestReport:
    """What `farm.weights.ingest.ingest` does, without its process. Raises BadWeights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "request.json")
        path.write_text(json.dumps(asdict(request), default=str))
        answer = ingest(Request.read(path))
    files = {name: IngestedFile(**file) for name, file in answer["files"].items()}
    return IngestReport(**{**answer, "files": files, "warnings": tuple(answer["warnings"])})
