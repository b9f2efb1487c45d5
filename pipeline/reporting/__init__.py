"""What people read: charts, report pages, model cards, differences of metrics."""
