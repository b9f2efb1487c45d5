"""Reports: charts, HTML pages, model cards, changes of metrics."""
