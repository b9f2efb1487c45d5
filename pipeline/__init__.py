"""Makes models: the stages of `dvc.yaml` and everything around them. One module per stage, one subpackage per idea."""
