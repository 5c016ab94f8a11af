"""pipeline.yaml to checked, frozen models. Imports no torch."""

from nstpipe.config.load import Loaded, load_pipeline, load_right_part
from nstpipe.config.models import Job, Pipeline
from nstpipe.config.schema import json_schema

__all__ = ["Job", "Loaded", "Pipeline", "json_schema", "load_pipeline", "load_right_part"]
