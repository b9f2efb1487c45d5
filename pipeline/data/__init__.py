"""Image datasets: files and mirrors, validation rules, synthetic digits and splits."""
