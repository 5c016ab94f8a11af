"""pipeline.yaml to checked, frozen models. Imports no torch."""

from nstpipe.config.load import load_pipeline, load_right_part
from nstpipe.config.models import Job, Pipeline
from nstpipe.config.schema import json_schema

__all__ = ["Job", "Pipeline", "json_schema", "load_pipeline", "load_right_part"]
