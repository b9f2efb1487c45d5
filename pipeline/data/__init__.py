"""Image datasets: files and mirrors, validation rules and splits."""
