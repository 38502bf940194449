"""Opens weights, whatever form they came in, as tensors by their names."""

from pathlib import Path

from workers.ingest.opening.files import weight_files
from workers.ingest.opening.pickled import converted, is_pickled
from workers.ingest.opening.tensors import TensorFiles


def open_weights(source: Path, scratch: Path) -> TensorFiles:
    """A file, or a folder of one component; a pickle was converted into the scratch folder. Raises BadWeights."""
    return TensorFiles(*(converted(file, scratch) if is_pickled(file) else file for file in weight_files(source)))
