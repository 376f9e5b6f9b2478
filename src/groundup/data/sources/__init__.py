"""Where rows come from: local files, the Hugging Face hub, and the embedded sets."""
