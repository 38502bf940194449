"""Opens weights, whatever form they came in, as tensors by their names."""

from pathlib import Path

from farm.weights.header import BadWeights
from workers.ingest.folder import weight_files
from workers.ingest.pickled import is_pickled, unpickle
from workers.ingest.tensors import Shelf


def open_weights(source: Path, scratch: Path) -> Shelf:
    """A file, or a folder of one component; a pickle is converted into the scratch folder. Raises BadWeights."""
    if not source.exists():
        raise BadWeights(f"{source} does not exist.")
    files = weight_files(source) if source.is_dir() else [source]
    return Shelf(*(unpickle(file, scratch) if is_pickled(file) else file for file in files))
