"""led_pipeline: train a first-stage retriever from raw text to a measured model."""
