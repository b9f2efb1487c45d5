"""Image datasets: their files, where they come from, what must hold of them, and how they are split."""
