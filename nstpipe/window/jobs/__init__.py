"""The page of the jobs: pipeline.yaml as a form and as text, what is checked before it runs, proof sheets and masks."""
