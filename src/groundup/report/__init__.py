"""What people read of a run: ``report.html``, and tables on the terminal."""
